/**
 * Files: uploads and downloads by content, and what a job has left by its path. A download can
 * begin anywhere (Range), so that one that broke goes on; an upload goes on where the bytes end
 * that are here (Content-Range; a HEAD tells where). Any node has every file: what is not on its
 * disk comes from the node that has it.
 */
import { HEADERS, PATHS } from '../api/api.ts';
import type { JobFilesJson, KeptFileJson, UploadedJson } from '../api/job-json.ts';
import { MeshError } from '../base/errors.ts';
import { isSha256, type NodeId } from '../base/ids.ts';
import type { LiveRecord } from '../core/calls.ts';
import { ownerOf } from '../core/record.ts';
import { streamOf } from './file-body.ts';
import { parseContentRange, parseRange } from './file-range.ts';
import { toJobJson } from './job-view.ts';
import { parseJobId, Query } from './json-request.ts';
import type { Asked, Route, RouteParts } from './route.ts';

export function fileRoutes(parts: RouteParts): Route[] {
  const { service, answers } = parts;
  return [
    { method: 'GET', path: PATHS.blob, role: 'read', handle: (asked) => getBlob(asked, parts) },
    { method: 'PUT', path: PATHS.blob, role: 'submit', handle: (asked) => putBlob(asked, parts) },
    {
      method: 'GET',
      path: PATHS.files,
      role: 'read',
      handle: async ({ id }) => answers.json(200, filesOf(await service.getJob(parseJobId(id)))),
    },
    { method: 'GET', path: PATHS.file, role: 'read', handle: (asked) => getFile(asked, parts) },
  ];
}

function filesOf(live: LiveRecord): JobFilesJson {
  const { job_id, status, files } = toJobJson(live);
  return { job_id, status, files, count: files.length };
}

/** @throws MeshError BAD_REQUEST */
function parseSha256(text: string): string {
  if (isSha256(text)) return text;
  throw new MeshError(
    'BAD_REQUEST',
    `${JSON.stringify(text.slice(0, 80))} is no SHA-256: 64 hex digits in lower case.`,
  );
}

// ---------------------------------------------------------------- uploads

async function putBlob(asked: Asked, { service, answers }: RouteParts): Promise<Response> {
  const { incoming } = asked;
  const sha256 = parseSha256(asked.id);
  const { offset, totalBytes } = parseContentRange(incoming.headers);
  const before = await service.files.look(sha256);
  const { isWhole, bytes } = before.isWhole
    ? before
    : await service.files.receive({ sha256, offset, totalBytes, body: bodyOf(asked) });
  const body: UploadedJson = { sha256, bytes, complete: isWhole };
  const status = before.isWhole ? 200 : isWhole ? 201 : 202;
  return answers.json(status, body, { [HEADERS.offset]: String(bytes) });
}

/** As it comes, and no faster than it is taken. */
async function* bodyOf({ incoming }: Asked): AsyncGenerator<Uint8Array> {
  try {
    for await (const bytes of incoming) yield bytes;
  } catch (cause) {
    throw new MeshError('BAD_REQUEST', 'The connection ended before the body did.', { cause });
  }
}

// ---------------------------------------------------------------- downloads

async function getBlob(asked: Asked, parts: RouteParts): Promise<Response> {
  const sha256 = parseSha256(asked.id);
  const query = new Query(asked.url, ['scope']);
  if (query.choice('scope', ['mesh', 'node']) === 'node') await requireHere(sha256, parts);
  return send({ sha256, hints: [] }, asked, parts);
}

/** Where an upload goes on is told with the refusal. */
async function requireHere(sha256: string, { service }: RouteParts): Promise<void> {
  const { isWhole, bytes } = await service.files.look(sha256);
  if (isWhole) return;
  throw new MissingHere(sha256, bytes);
}

class MissingHere extends MeshError {
  readonly headers: Readonly<Record<string, string>>;

  constructor(sha256: string, bytes: number) {
    super('BLOB_NOT_FOUND', `${bytes} bytes of the file ${sha256} are on this node's disk.`);
    this.headers = { [HEADERS.offset]: String(bytes) };
  }
}

async function getFile(asked: Asked, parts: RouteParts): Promise<Response> {
  const live = await parts.service.getJob(parseJobId(asked.id));
  const { files } = toJobJson(live);
  const file = files.find(({ path }) => path === asked.rest);
  if (!file) throw noSuchFile(asked, files);
  return send({ sha256: file.sha256, hints: whoHas(live) }, asked, parts);
}

function noSuchFile({ id, rest }: Asked, files: readonly KeptFileJson[]): MeshError {
  const kept = files.length === 0 ? 'it has left none' : `it has left ${files.length}`;
  return new MeshError(
    'BLOB_NOT_FOUND',
    `Job ${id} has no file ${JSON.stringify(rest.slice(0, 200))}; ${kept}. GET /api/v1/jobs/${id}/files (mesh files ${id}) lists them.`,
  );
}

/** Who ran it has written them, its owner may have a second copy. */
function whoHas({ record: { header, job } }: LiveRecord): NodeId[] {
  const { state } = job;
  const executor = state.tag === 'final' ? state.final.outcome?.executor : undefined;
  return [...(executor ? [executor] : []), ownerOf(header), ...header.rs];
}

async function send(
  wanted: { sha256: string; hints: readonly NodeId[] },
  { incoming, outgoing }: Asked,
  { service, answers, held }: RouteParts,
): Promise<Response> {
  const signal = held.hold(outgoing);
  const file = await service.files.open(wanted);
  try {
    const { totalBytes } = file;
    const range = parseRange(incoming.headers.range, totalBytes);
    const { begin, end } = range ?? { begin: 0, end: totalBytes };
    const headers = {
      'Accept-Ranges': 'bytes',
      'Content-Length': String(end - begin),
      ETag: `"${wanted.sha256}"`,
      ...(range && { 'Content-Range': `bytes ${begin}-${end - 1}/${totalBytes}` }),
    };
    const status = range ? 206 : 200;
    if (incoming.method === 'HEAD') {
      file.close();
      return answers.bytes(null, headers, status);
    }
    const onCut = (): void => void outgoing.destroy();
    const body = streamOf(file, { sha256: wanted.sha256, begin, end, signal, onCut });
    return answers.bytes(body, headers, status);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}
