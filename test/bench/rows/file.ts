/** One large file: given to a node, used by a job at a second one, fetched at a third one. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createClient } from '../../../src/client/client.ts';
import type { NodeProcess } from '../../e2e/mesh-processes.ts';
import type { Opened, Row, Sample, Stage } from '../frame/row.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { serveByTls } from '../peers/tls-copy.ts';

const MIB = 1024 * 1024;
const [SIZE, QUICK_SIZE] = [1024 * MIB, 2 * MIB];
const JOB_DEADLINE_MS = 20 * 60_000;

const sizeOf = ({ isQuick }: Stage): number => (isQuick ? QUICK_SIZE : SIZE);

async function timed(bytes: number, act: () => Promise<void>): Promise<Sample> {
  const from = performance.now();
  await act();
  return { figures: { speed: bytes / MIB / ((performance.now() - from) / 1000) } };
}

interface Content {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** New bytes each time: what a node has already it would not take again. */
async function newFile(path: string, bytes: number): Promise<Content> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let at = 0; at < bytes; at += MIB) {
    const piece = randomBytes(MIB);
    hash.update(piece);
    await file.write(piece);
  }
  await file.close();
  return { path, sha256: hash.digest('hex'), bytes };
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest('hex');
}

async function upload({ path, sha256, bytes }: Content, node: NodeProcess): Promise<void> {
  const file = await open(path);
  try {
    const read = (offset: number, length: number) => pieceOf(file, offset, length);
    await createClient({ url: node.url }).upload({ sha256, bytes, read });
  } finally {
    await file.close();
  }
}

async function pieceOf(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const { buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, offset);
  return buffer;
}

async function throughNodes(stage: Stage): Promise<Opened> {
  const { nodes, stop, folder } = await startNodes(['one', 'two', 'three']);
  const [one, two, three] = nodes;
  if (!one || !two || !three) throw new Error('three nodes were not started');
  const bytes = sizeOf(stage);
  let content: Content | undefined;
  let job = '';
  const given = (): Content => {
    if (content) return content;
    throw new Error('there is no file yet');
  };
  return {
    runs: {
      upload: async () => {
        content = await newFile(join(stage.folder, 'source'), bytes);
        return timed(bytes, () => upload(given(), one));
      },
      job: () =>
        timed(bytes, async () => {
          const { sha256 } = given();
          job = await one.submit('cp in out', {
            target_node_id: two.id,
            timeout_seconds: 3600,
            inputs: [{ path: 'in', sha256, bytes }],
            outputs: ['out'],
          });
          const { status } = await one.jobEnds(job, JOB_DEADLINE_MS);
          if (status !== 'JOB_COMPLETED') throw new Error(`the job is ${status}`);
        }),
      download: async () => {
        const target = join(folder, 'target');
        const sample = await timed(bytes, () =>
          pipeline(
            createClient({ url: three.url }).download(job, 'out'),
            createWriteStream(target),
          ),
        );
        if ((await hashOf(target)) !== given().sha256) throw new Error('the bytes differ');
        rmSync(target);
        return sample;
      },
    },
    close: stop,
  };
}

async function byTls(stage: Stage): Promise<Opened> {
  const bytes = sizeOf(stage);
  const { path } = await newFile(join(stage.folder, 'source'), bytes);
  const source = await serveByTls(path);
  const target = join(stage.folder, 'target');
  const copy = () => timed(bytes, () => source.copyTo(target));
  return { runs: { upload: copy, job: copy, download: copy }, close: () => source.close() };
}

export const file: Row = {
  name: 'file',
  what: 'A file of 1 GiB: given to a node, used by a job at a second one, fetched at a third one',
  rounds: 2,
  isWarm: false,
  deadlineMs: 20 * 60_000,
  lines: [
    ['upload', 'given to the first (HTTP, hashed, on disk)'],
    ['job', 'fetched by the second, copied by the job, kept'],
    ['download', 'fetched at the third, which asks the second, into a file'],
  ].map(([run = '', what = '']) => ({
    run,
    figure: 'speed',
    what,
    unit: 'MiB/s',
    better: 'more',
  })),
  contestants: [
    {
      name: 'mesh of three',
      isMesh: true,
      keeps: 'hashed, on each node’s disk',
      open: throughNodes,
    },
    { name: 'TLS into a file', isMesh: false, keeps: 'one disk, one fsync', open: byTls },
  ],
  note: 'The memory is that of three nodes and of the client.',
};
