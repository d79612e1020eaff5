/**
 * How much may be kept, and what goes to make room. Every file has a time of last use, its mtime.
 * What no job that is known here names is deleted when it has not been used for the retention
 * time; and earlier, the longest unused first, when a new file would not fit into the limit. What
 * came within the last hour stays even then: a job that names it may be about to be submitted.
 */
import { opendir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { MeshError } from '../base/errors.ts';
import { isSha256 } from '../base/ids.ts';
import { isMissing } from './failures.ts';
import { blobPath, partialFolder } from './layout.ts';

const FRESH_MS = 3_600_000;
/** Of a transfer that nobody has gone on with. */
const PARTIAL_MS = 24 * 3_600_000;

export interface RoomParts {
  readonly folder: string;
  readonly limitBytes: number;
  readonly now: () => number;
  /** Of these, the ones that jobs known to this node name. */
  readonly namedByJobs: (among: ReadonlySet<string>) => Promise<ReadonlySet<string>>;
}

interface Kept {
  readonly sha256: string;
  readonly bytes: number;
  readonly usedAt: number;
}

export class Room {
  private readonly parts: RoomParts;
  private keptBytes = 0;
  /** To transfers under way: all of the file. To those that stand still: what is here of it. */
  private readonly promised = new Map<string, number>();
  private readonly underWay = new Set<string>();
  /** One clearing at a time: two would count the same room twice. */
  private clearing: Promise<unknown> = Promise.resolve();

  constructor(parts: RoomParts) {
    this.parts = parts;
  }

  get usedBytes(): number {
    let sum = this.keptBytes;
    for (const bytes of this.promised.values()) sum += bytes;
    return sum;
  }

  /** What earlier lives have left. What they had begun under no hash cannot be gone on with. */
  async measure(): Promise<void> {
    let sum = 0;
    for await (const { bytes } of this.list()) sum += bytes;
    this.keptBytes = sum;
    for (const { name, path, bytes } of await this.partials()) {
      if (isSha256(name)) this.promised.set(name, bytes);
      else await rm(path, { force: true });
    }
  }

  /** For a transfer of this name, until it was kept, left or given back. @throws MeshError STORAGE_FULL */
  async promise(name: string, bytes: number): Promise<void> {
    this.underWay.add(name);
    const turn = this.clearing.then(() => this.makeRoom(bytes - (this.promised.get(name) ?? 0)));
    this.clearing = turn.catch(() => {});
    try {
      await turn;
      this.promised.set(name, bytes);
    } catch (thrown) {
      this.underWay.delete(name);
      throw thrown;
    }
  }

  kept(name: string, bytes: number): void {
    this.giveBack(name);
    this.keptBytes += bytes;
  }

  /** It may be gone on with: so many bytes of it stay. */
  left(name: string, bytes: number): void {
    this.underWay.delete(name);
    this.promised.set(name, bytes);
  }

  giveBack(name: string): void {
    this.underWay.delete(name);
    this.promised.delete(name);
  }

  async noteUse(sha256: string): Promise<void> {
    const now = new Date(this.parts.now());
    await utimes(blobPath(this.parts.folder, sha256), now, now).catch(() => {});
  }

  async remove(sha256: string): Promise<void> {
    const path = blobPath(this.parts.folder, sha256);
    try {
      const { size } = await stat(path);
      await rm(path);
      this.keptBytes -= size;
    } catch (thrown) {
      if (!isMissing(thrown)) throw thrown;
    }
  }

  /** Deletes what was last used before `unusedMs` ago and no job names. Says how many. */
  async expire(unusedMs: number): Promise<number> {
    const now = this.parts.now();
    const old = new Set<string>();
    for await (const { sha256, usedAt } of this.list())
      if (usedAt < now - unusedMs) old.add(sha256);
    const named = old.size > 0 ? await this.parts.namedByJobs(old) : old;
    const going = [...old].filter((sha256) => !named.has(sha256));
    for (const sha256 of going) await this.remove(sha256);
    await this.expirePartials(now - PARTIAL_MS);
    return going.length;
  }

  private async expirePartials(before: number): Promise<void> {
    for (const { name, path, changedAt } of await this.partials()) {
      if (this.underWay.has(name) || changedAt >= before) continue;
      await rm(path, { force: true });
      this.giveBack(name);
    }
  }

  private async partials(): Promise<
    { name: string; path: string; bytes: number; changedAt: number }[]
  > {
    const folder = partialFolder(this.parts.folder);
    const found = (await readdir(folder)).map(async (name) => {
      const path = join(folder, name);
      const there = await stat(path).catch(() => undefined);
      return there ? [{ name, path, bytes: there.size, changedAt: there.mtimeMs }] : [];
    });
    return (await Promise.all(found)).flat();
  }

  private async makeRoom(bytes: number): Promise<void> {
    const { limitBytes } = this.parts;
    const excess = (): number => this.usedBytes + bytes - limitBytes;
    if (bytes <= limitBytes && excess() > 0) {
      await this.expirePartials(this.parts.now() - FRESH_MS);
      for (const { sha256 } of await this.unnamedOldestFirst()) {
        if (excess() <= 0) break;
        await this.remove(sha256);
      }
    }
    if (excess() <= 0) return;
    throw new MeshError(
      'STORAGE_FULL',
      `${bytes} bytes more do not fit: this node keeps ${this.usedBytes} bytes of files of at most ${limitBytes} (setting file-limit), all of them fresh or named by jobs. Raise the limit, or submit at another node.`,
    );
  }

  private async unnamedOldestFirst(): Promise<Kept[]> {
    const all: Kept[] = [];
    const before = this.parts.now() - FRESH_MS;
    for await (const kept of this.list()) if (kept.usedAt < before) all.push(kept);
    const named = await this.parts.namedByJobs(new Set(all.map(({ sha256 }) => sha256)));
    return all.filter(({ sha256 }) => !named.has(sha256)).sort((a, b) => a.usedAt - b.usedAt);
  }

  private async *list(): AsyncGenerator<Kept> {
    for await (const shard of await opendir(this.parts.folder)) {
      if (!shard.isDirectory() || shard.name.length !== 2) continue;
      for (const sha256 of await readdir(join(this.parts.folder, shard.name))) {
        if (!isSha256(sha256)) continue;
        const path = blobPath(this.parts.folder, sha256);
        const found = await stat(path).catch(() => undefined);
        if (found) yield { sha256, bytes: found.size, usedAt: found.mtimeMs };
      }
    }
  }
}
