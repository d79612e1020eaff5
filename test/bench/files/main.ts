/**
 * `make bench-files`: one large file goes through three nodes (given at the first, used at the
 * second, fetched at the third). Each way is beside a plain TLS copy of the same bytes from one
 * process to another, into a file; for each node there is how much more memory it had at its peak
 * than before. SIZE=1024 MiB.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  createReadStream,
  createWriteStream,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { connect } from 'node:tls';
import { createClient } from '../../../src/client/client.ts';
import { createMeshCa } from '../../../src/links/mesh-ca.ts';
import { openMeshKey } from '../../../src/links/mesh-key.ts';
import { bytesOf, MIB } from '../../blobs/blob-folders.ts';
import { MeshProcesses, type NodeProcess } from '../../e2e/mesh-processes.ts';

const SIZE = Number(process.env.SIZE ?? 1024) * MIB;
const JOB_DEADLINE_MS = 30 * 60_000;

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function timed<T>(what: string, act: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const result = await act();
  const seconds = (performance.now() - startedAt) / 1000;
  const speed = (SIZE / MIB / seconds).toFixed(0);
  print(`${what.padEnd(58)} ${seconds.toFixed(1).padStart(7)} s ${speed.padStart(6)} MiB/s`);
  return result;
}

/** Different in each MiB, so that nothing can be shared or left out. */
async function makeFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let at = 0; at < SIZE; at += MIB) {
    const piece = bytesOf(MIB, at / MIB + 1);
    hash.update(piece);
    await file.write(piece);
  }
  await file.close();
  return hash.digest('hex');
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest('hex');
}

// ---------------------------------------------------------------- reference

const SERVE = `
  const [path] = process.argv.slice(1);
  const { createServer } = require('node:tls');
  const { createReadStream } = require('node:fs');
  const server = createServer({ cert: process.env.CERT, key: process.env.KEY }, (socket) =>
    createReadStream(path, { highWaterMark: 256 * 1024 }).pipe(socket));
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

async function rawCopy(source: string, target: string): Promise<void> {
  const { certPem, keyPem } = createMeshCa(openMeshKey()).issueServerCertificate({
    hosts: ['127.0.0.1'],
  });
  const child = spawn(process.execPath, ['-e', SERVE, source], {
    env: { CERT: certPem, KEY: keyPem },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [port] = await once(child.stdout, 'data');
    await timed('reference: TLS from one process to another, into a file', async () => {
      const socket = connect({
        port: Number(port),
        host: '127.0.0.1',
        rejectUnauthorized: false,
      });
      await pipeline(socket, createWriteStream(target, { flush: true }));
    });
    if (statSync(target).size !== SIZE) throw new Error('the reference copied something else');
  } finally {
    child.kill();
  }
}

// ---------------------------------------------------------------- memory

const statusOf = ({ pid }: NodeProcess, field: string): number =>
  Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) *
  1024;

function rememberMemory(nodes: readonly NodeProcess[]): () => void {
  const before = nodes.map((node) => statusOf(node, 'VmRSS'));
  // 5: the peak is counted from here.
  for (const { pid } of nodes) writeFileSync(`/proc/${pid}/clear_refs`, '5');
  return () => {
    for (const [i, node] of nodes.entries()) {
      const [rest, peak] = [before[i] ?? 0, statusOf(node, 'VmHWM')];
      const more = ((peak - rest) / 1e6).toFixed(0);
      print(
        `memory of ${node.name}: ${(rest / 1e6).toFixed(0)} MB before, ${more} MB more at most`,
      );
    }
  };
}

// ---------------------------------------------------------------- run

async function main(): Promise<void> {
  const mesh = new MeshProcesses();
  try {
    const [one, two, three] = await mesh.startMesh(['one', 'two', 'three']);
    if (!one || !two || !three) return;
    const source = join(mesh.folder, 'source');
    const sha256 = await makeFile(source);
    await rawCopy(source, join(mesh.folder, 'reference'));
    const tellMemory = rememberMemory([one, two, three]);
    const file = await open(source);
    const read = async (offset: number, length: number): Promise<Uint8Array> => {
      const { buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, offset);
      return buffer;
    };
    await timed('upload to one (HTTP, hashed, fsync)', () =>
      createClient({ url: one.url }).upload({ sha256, bytes: SIZE, read }),
    );
    await file.close();
    const job = await timed('job at two: input fetched from one, copied, output kept', async () => {
      const id = await one.submit('cp in out', {
        target_node_id: two.id,
        timeout_seconds: 3600,
        inputs: [{ path: 'in', sha256, bytes: SIZE }],
        outputs: ['out'],
      });
      const { status } = await one.jobEnds(id, JOB_DEADLINE_MS);
      if (status !== 'JOB_COMPLETED') throw new Error(status);
      return id;
    });
    const target = join(mesh.folder, 'target');
    await timed('download from three: from two, through its disk, into a file', () =>
      pipeline(createClient({ url: three.url }).download(job, 'out'), createWriteStream(target)),
    );
    print((await hashOf(target)) === sha256 ? 'the bytes are the same' : 'THE BYTES DIFFER');
    tellMemory();
  } finally {
    await mesh.stop();
  }
}

await main();
