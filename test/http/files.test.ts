import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { MeshFiles } from '../../src/node/files.ts';
import { bytesOf, MIB, newBlobs, put, sha256Of } from '../blobs/blob-folders.ts';
import { startApi, type TestApi } from './test-api.ts';

const BYTES = bytesOf(MIB + 5);
const SHA256 = sha256Of(BYTES);
const TYPE = { 'Content-Type': 'application/octet-stream' };

interface FileApi extends TestApi {
  readonly blobs: Awaited<ReturnType<typeof newBlobs>>;
  readonly blob: string;
  put(bytes: Uint8Array, headers?: Record<string, string>): Promise<Response>;
}

async function startFileApi(t: TestContext, limitBytes = 100 * MIB): Promise<FileApi> {
  const api = await startApi();
  t.after(() => api.stop());
  const blobs = await newBlobs(t, { limitBytes });
  const call = (): never => assert.fail();
  api.service.files = new MeshFiles({
    blobs,
    links: { call },
    linked: () => [],
    unlinked: () => [],
  });
  const blob = `${api.url}/api/v1/blobs/${SHA256}`;
  const upload = (bytes: Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(blob, { method: 'PUT', body: Buffer.from(bytes), headers: { ...TYPE, ...headers } });
  return { ...api, blobs, blob, put: upload };
}

const codeOf = async (response: Response): Promise<unknown> =>
  ((await response.json()) as { code: unknown }).code;

describe('an upload', () => {
  test('is there when it was answered, and may be repeated', async (t) => {
    const api = await startFileApi(t);
    const created = await api.put(BYTES);
    assert.equal(created.status, 201);
    assert.deepEqual(await created.json(), { sha256: SHA256, bytes: BYTES.length, complete: true });
    assert.equal((await api.put(BYTES)).status, 200);
    assert(Buffer.from(await (await fetch(api.blob)).arrayBuffer()).equals(BYTES));
  });

  test('of other bytes is refused and leaves nothing', async (t) => {
    const api = await startFileApi(t);
    const refused = await api.put(bytesOf(BYTES.length, 5));
    assert.equal(refused.status, 422);
    assert.equal(await codeOf(refused), 'BLOB_MISMATCH');
    assert.equal(api.blobs.usedBytes, 0);
    assert.equal((await fetch(api.blob)).status, 404);
  });

  test('goes on piece by piece where the bytes end that are here', async (t) => {
    const api = await startFileApi(t);
    const range = (from: number, to: number) => ({
      'Content-Range': `bytes ${from}-${to - 1}/${BYTES.length}`,
    });
    const first = await api.put(BYTES.subarray(0, 1000), range(0, 1000));
    assert.equal(first.status, 202);
    const head = await fetch(`${api.blob}?scope=node`, { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers.get('X-Mesh-Offset')], [404, '1000']);
    const wrong = await api.put(BYTES.subarray(2000), range(2000, BYTES.length));
    assert.deepEqual([wrong.status, await codeOf(wrong)], [409, 'WRONG_OFFSET']);
    const rest = await api.put(BYTES.subarray(1000), range(1000, BYTES.length));
    assert.equal(rest.status, 201);
    assert.equal((await fetch(`${api.blob}?scope=node`, { method: 'HEAD' })).status, 200);
  });

  test('whose client goes away can be gone on with', async (t) => {
    const api = await startFileApi(t);
    const { promise: cut, resolve } = Promise.withResolvers<void>();
    const sent = request(api.blob, {
      method: 'PUT',
      headers: { ...TYPE, 'Content-Length': String(BYTES.length) },
    });
    sent.on('error', () => resolve());
    sent.write(BYTES.subarray(0, 100_000));
    // As soon as something is on the disk.
    while ((await api.blobs.begun(SHA256)) === 0) await new Promise((next) => setImmediate(next));
    sent.destroy();
    await cut;
    const from = await goneOnFrom(api);
    assert(from > 0);
    const rest = { 'Content-Range': `bytes ${from}-${BYTES.length - 1}/${BYTES.length}` };
    assert.equal((await api.put(BYTES.subarray(from), rest)).status, 201);
  });

  test('over the limit is refused by name', async (t) => {
    const api = await startFileApi(t, MIB);
    const refused = await api.put(BYTES);
    assert.deepEqual([refused.status, await codeOf(refused)], [507, 'STORAGE_FULL']);
  });

  test('must be bytes, have a hash for a name and a length', async (t) => {
    const api = await startFileApi(t);
    assert.equal((await api.put(BYTES, { 'Content-Type': 'text/plain' })).status, 415);
    const other = await fetch(`${api.url}/api/v1/blobs/..%2f..%2fpasswd`, {
      method: 'PUT',
      body: 'x',
      headers: TYPE,
    });
    assert.equal(other.status, 400);
    assert.equal((await api.put(BYTES, { 'Content-Range': 'bytes 5-1/9' })).status, 400);
  });

  test('needs the role submit', async (t) => {
    const api = await startFileApi(t);
    const authorization = { Authorization: 'Bearer mesh-read-x' };
    assert.equal((await api.put(BYTES, authorization)).status, 403);
  });
});

/** The server notices a moment later that nobody sends any more; until then it is being written. */
async function goneOnFrom(api: FileApi): Promise<number> {
  for (;;) {
    try {
      const writer = await api.blobs.write(SHA256, BYTES.length);
      const { offset } = writer;
      await writer.leave();
      return offset;
    } catch {
      await new Promise((next) => setImmediate(next));
    }
  }
}

describe('a download', () => {
  test('may begin anywhere', async (t) => {
    const api = await startFileApi(t);
    await put(api.blobs, BYTES);
    for (const [range, begin, end] of [
      ['bytes=1000-1999', 1000, 2000],
      [`bytes=${MIB}-`, MIB, BYTES.length],
      ['bytes=-7', BYTES.length - 7, BYTES.length],
    ] as const) {
      const part = await fetch(api.blob, { headers: { Range: range } });
      assert.equal(part.status, 206);
      const wanted = `bytes ${begin}-${end - 1}/${BYTES.length}`;
      assert.equal(part.headers.get('Content-Range'), wanted);
      assert(Buffer.from(await part.arrayBuffer()).equals(BYTES.subarray(begin, end)));
    }
    const beyond = await fetch(api.blob, { headers: { Range: `bytes=${BYTES.length}-` } });
    assert.equal(beyond.status, 416);
  });

  test('has its length and its name in the head', async (t) => {
    const api = await startFileApi(t);
    await put(api.blobs, BYTES);
    const head = await fetch(api.blob, { method: 'HEAD' });
    assert.equal(head.headers.get('Content-Length'), String(BYTES.length));
    assert.equal(head.headers.get('ETag'), `"${SHA256}"`);
  });

  test('of a damaged copy breaks off, and the copy is thrown away', async (t) => {
    const api = await startFileApi(t);
    await put(api.blobs, BYTES);
    await writeFile(join(api.blobs.folder, SHA256.slice(0, 2), SHA256), bytesOf(BYTES.length, 3));
    await assert.rejects(async () => (await fetch(api.blob)).arrayBuffer());
    assert.equal((await fetch(api.blob)).status, 404);
  });

  test('of an empty file is empty', async (t) => {
    const api = await startFileApi(t);
    const empty = await put(api.blobs, new Uint8Array(0));
    const answer = await fetch(`${api.url}/api/v1/blobs/${empty}`);
    assert.deepEqual([answer.status, (await answer.arrayBuffer()).byteLength], [200, 0]);
  });
});
