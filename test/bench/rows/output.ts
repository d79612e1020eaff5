/** A job that prints much: how fast it is kept, and how fast it is read. */
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createClient } from '../../../src/client/client.ts';
import type { Opened, Row, Sample, Stage } from '../frame/row.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { serveByTls } from '../peers/tls-copy.ts';

const [BYTES, QUICK_BYTES] = [1e9, 1e6];
const DEADLINE_MS = 20 * 60_000;
const LIMIT = '2GiB';
const run = promisify(execFile);

const bytesOf = ({ isQuick }: Stage): number => (isQuick ? QUICK_BYTES : BYTES);
/** As text in lines, which is what programs print. */
const commandOf = (bytes: number): string => `yes 0123456789012345678 | head -c ${bytes}`;

async function timed(bytes: number, act: () => Promise<void>): Promise<Sample> {
  const from = performance.now();
  await act();
  return { figures: { speed: bytes / 1e6 / ((performance.now() - from) / 1000) } };
}

async function byMesh(stage: Stage): Promise<Opened> {
  const { nodes, stop } = await startNodes(['one', 'two'], { flags: ['--output-limit', LIMIT] });
  const [one, two] = nodes;
  if (!one || !two) throw new Error('two nodes were not started');
  const bytes = bytesOf(stage);
  let job = '';
  const readAt = (url: string) => () =>
    timed(bytes, async () => {
      let received = 0;
      for await (const piece of createClient({ url }).output(job)) received += piece.length;
      if (received !== bytes) throw new Error(`${received} bytes came instead of ${bytes}`);
    });
  return {
    runs: {
      print: () =>
        timed(bytes, async () => {
          const options = { target_node_id: one.id, timeout_seconds: 3600 };
          job = await one.submit(commandOf(bytes), options);
          const { status } = await one.jobEnds(job, DEADLINE_MS);
          if (status !== 'JOB_COMPLETED') throw new Error(`the job is ${status}`);
        }),
      read: readAt(one.url),
      remote: readAt(two.url),
    },
    close: stop,
  };
}

async function byShell(stage: Stage): Promise<Opened> {
  const bytes = bytesOf(stage);
  const path = join(stage.folder, 'output');
  const print = async (): Promise<void> =>
    void (await run('/bin/sh', ['-c', `${commandOf(bytes)} >${path}`]));
  await print();
  const source = await serveByTls(path);
  const copy = () => timed(bytes, () => source.copyTo(join(stage.folder, 'copy')));
  return {
    runs: {
      print: () => {
        rmSync(path, { force: true });
        return timed(bytes, print);
      },
      read: copy,
      remote: copy,
    },
    close: () => source.close(),
  };
}

export const output: Row = {
  name: 'output',
  what: 'A job that prints 1 GB',
  rounds: 2,
  isWarm: false,
  deadlineMs: 20 * 60_000,
  lines: [
    ['print', 'printed and kept'],
    ['read', 'read over HTTP at the node that has it'],
    ['remote', 'read over HTTP at another node'],
  ].map(([each = '', what = '']) => ({
    run: each,
    figure: 'speed',
    what,
    unit: 'MB/s',
    better: 'more',
  })),
  contestants: [
    { name: 'mesh of two', isMesh: true, keeps: 'one disk', open: byMesh },
    { name: 'sh into a file, TLS copy', isMesh: false, keeps: 'one disk, no fsync', open: byShell },
  ],
};
