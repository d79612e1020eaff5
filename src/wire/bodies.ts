/**
 * The bytes of bodies that were encoded or read, beside the jobs they belong to; it works because
 * jobs are never changed, only replaced. Two kinds are kept:
 *
 * - What this version cannot write again, because a newer one has put more into it: as long as the
 *   job itself, so that it is passed on as it came.
 * - All others for a while, so that an owner encodes once for its own disk and every replica, and
 *   a replica not at all. A job that waits for days has no use for them, and a queue of a million
 *   would keep a gigabyte: after two generations they are made anew should they be asked for.
 */
import type { Job } from '../core/job.ts';

const GENERATION_JOBS = 4096;
const GENERATION_BYTES = 4 * 1024 * 1024;

export class Bodies {
  private readonly forGood = new WeakMap<Job, Uint8Array>();
  private young = new Map<Job, Uint8Array>();
  private old = new Map<Job, Uint8Array>();
  private youngBytes = 0;

  get(job: Job): Uint8Array | undefined {
    return this.young.get(job) ?? this.old.get(job) ?? this.forGood.get(job);
  }

  keepForGood(job: Job, bytes: Uint8Array): void {
    this.forGood.set(job, bytes);
  }

  keepForNow(job: Job, bytes: Uint8Array): void {
    if (this.young.size >= GENERATION_JOBS || this.youngBytes >= GENERATION_BYTES) {
      this.old = this.young;
      this.young = new Map();
      this.youngBytes = 0;
    }
    this.young.set(job, bytes);
    this.youngBytes += bytes.length;
  }
}

/** Some part of it has fields that this version does not know; they were kept when it was decoded. */
export const hasUnknownFields = (part: object): boolean =>
  '$unknowns' in part ||
  Object.values(part).some((value) => isMessage(value) && hasUnknownFields(value));

const isMessage = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
