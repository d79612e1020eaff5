/**
 * Files up and down, over as many connections as it takes. An upload goes piece by piece, so that no
 * request takes long, and after a break goes on where the node's bytes end; both ways only the
 * piece in hand is in memory. Hashes are made by whoever has the file: an upload is checked by the
 * node, a download by its reader.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HEADERS, PATHS } from '../api/api.ts';
import type { UploadedJson } from '../api/job-json.ts';
import { MeshError } from '../base/errors.ts';
import type { Requests } from './request.ts';

export interface UploadSource {
  /** 64 hex digits. */
  readonly sha256: string;
  readonly bytes: number;
  /** Exactly so many bytes. */
  readonly read: (offset: number, length: number) => Promise<Uint8Array>;
}

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** How many bytes the node has. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export interface DownloadOptions {
  /** Where to begin, in bytes. */
  readonly offset?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const PIECE_BYTES = 8 * 1024 * 1024;
const MAX_BREAKS = 5;
const PAUSE_MS = 200;

/** @throws MeshError BLOB_MISMATCH, STORAGE_FULL, DISK_FULL */
export async function upload(
  requests: Requests,
  source: UploadSource,
  options: UploadOptions,
): Promise<UploadedJson> {
  const { signal, onProgress } = options;
  let offset: number | undefined;
  for (let breaks = 0; ; breaks++) {
    try {
      offset ??= await bytesThere(requests, source, signal);
      while (offset < source.bytes || source.bytes === 0) {
        const done = await uploadPiece(requests, source, { offset, signal });
        breaks = 0;
        offset = done.bytes;
        onProgress?.(offset);
        if (done.complete) return done;
      }
      return { sha256: source.sha256, bytes: source.bytes, complete: true };
    } catch (failure) {
      signal?.throwIfAborted();
      if (!mayGoOn(failure) || breaks >= MAX_BREAKS) throw failure;
      offset = undefined;
      await sleep(PAUSE_MS * 2 ** breaks, undefined, signal && { signal });
    }
  }
}

/** On the node that is asked: it is the one that will be asked for the file. */
async function bytesThere(
  requests: Requests,
  { sha256, bytes }: UploadSource,
  signal: AbortSignal | undefined,
): Promise<number> {
  const path = `${blobPath(sha256)}?scope=node`;
  const response = await requests.fetch(path, { method: 'HEAD', signal });
  if (response.ok) return bytes;
  const there = Number(response.headers.get(HEADERS.offset) ?? 0);
  // As long as it should be and not whole: it is begun anew.
  return there < bytes ? there : 0;
}

async function uploadPiece(
  requests: Requests,
  source: UploadSource,
  { offset, signal }: { offset: number; signal: AbortSignal | undefined },
): Promise<UploadedJson> {
  const length = Math.min(PIECE_BYTES, source.bytes - offset);
  const range = `bytes ${offset}-${offset + length - 1}/${source.bytes}`;
  return requests.json(blobPath(source.sha256), {
    method: 'PUT',
    bytes: await source.read(offset, length),
    signal,
    ...(length > 0 && { headers: { 'Content-Range': range } }),
  });
}

const blobPath = (sha256: string): string => PATHS.blob.replace(':id', sha256);

export const filePath = (id: string, path: string): string =>
  PATHS.files.replace(':id', encodeURIComponent(id)) +
  `/${path.split('/').map(encodeURIComponent).join('/')}`;

/** From `offset` to the end; goes on by itself after a broken connection. */
export async function* download(
  requests: Requests,
  path: string,
  { offset: begin = 0, signal }: DownloadOptions,
): AsyncGenerator<Uint8Array, void, void> {
  let offset = begin;
  // Counted in a row: bytes that arrive make up for a break.
  for (let breaks = 0; ; breaks++) {
    try {
      const headers = offset > 0 ? { Range: `bytes=${offset}-` } : {};
      const response = await requests.sendAnywhere(path, { headers, signal });
      for await (const bytes of response.body ?? []) {
        offset += bytes.length;
        breaks = 0;
        yield bytes;
      }
      return;
    } catch (failure) {
      signal?.throwIfAborted();
      // It broke behind the last byte, or there was nothing more to get.
      if (failure instanceof MeshError && failure.code === 'BAD_RANGE') return;
      if (!mayGoOn(failure) || breaks >= MAX_BREAKS) throw failure;
      await sleep(PAUSE_MS * 2 ** breaks, undefined, signal && { signal });
    }
  }
}

/** A broken connection; what may be better in a moment; bytes that came twice, or not at all. */
const mayGoOn = (failure: unknown): boolean =>
  !(failure instanceof MeshError) ||
  failure.code === 'WRONG_OFFSET' ||
  (failure.retryable && failure.code !== 'STORAGE_FULL' && failure.code !== 'DISK_FULL');
