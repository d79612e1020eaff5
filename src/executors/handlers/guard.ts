/**
 * The second thread of a process of the pool. The main one may be kept busy by a handler for ever;
 * this one never waits for it. It ends the whole process group
 *
 * - when the pipe to the node is closed: the node is dead, and nobody would hear of a result;
 * - when the lease of its attempt is over: the node stands still, and another one may
 *   start the job again;
 * - when the process has more memory than it may: V8's own limit does not count buffers.
 */
import { Socket } from 'node:net';
import { workerData } from 'node:worker_threads';
import { GUARD_DESCRIPTOR, MEMORY_LINE, parseLeaseLine } from './protocol.ts';
import { monotonicMs, RunLease } from './run-lease.ts';

const LOOK_INTERVAL_MS = 200;

export interface GuardData {
  readonly memoryBytes: number;
  /** Of a `RunLease`. */
  readonly lease: SharedArrayBuffer;
}

export function runGuard(): void {
  const { memoryBytes, lease: memory } = workerData as GuardData;
  const lease = new RunLease(memory);
  const pipe = new Socket({ fd: GUARD_DESCRIPTOR, readable: true, writable: true });
  let told: ReturnType<typeof parseLeaseLine> | undefined;
  pipe.setEncoding('utf8');
  let rest = '';
  pipe.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) told = parseLeaseLine(line);
  });
  pipe.on('close', endGroup);
  pipe.on('error', endGroup);
  setInterval(() => {
    const { run } = lease;
    const untilMs = told?.run === run ? told?.untilMs : lease.untilMs;
    if (run !== undefined && untilMs !== undefined && monotonicMs() >= untilMs) endGroup();
    if (process.memoryUsage.rss() > memoryBytes) pipe.write(`${MEMORY_LINE}\n`, endGroup);
  }, LOOK_INTERVAL_MS);
}

function endGroup(): void {
  process.kill(-process.pid, 'SIGKILL');
}
