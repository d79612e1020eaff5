/**
 * A node that is made to be killed: `doomed-node.ts FOLDER COMMAND…` runs every command and prints
 * a JSON line with the ids of its own process and its guard once all have started.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { asJobId, asNodeId, asNonce } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import { createExecutors } from '../../src/executors/executors.ts';

const [folder = '', ...commands] = process.argv.slice(2);
const node = asNodeId(`node-${'c'.repeat(32)}`);
const executor = createExecutors({
  folder,
  outputLimitBytes: 1000,
  now: () => asWall(Date.now()),
});

const childrenNamed = (name: string): number[] =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        const isChild = readFileSync(`/proc/${pid}/status`, 'utf8').includes(
          `PPid:\t${process.pid}\n`,
        );
        return isChild && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(name);
      } catch {
        return false;
      }
    })
    .map(Number);

let runningCount = 0;
await executor.start((report) => {
  if (report.kind !== 'running') return;
  runningCount += 1;
  if (runningCount < commands.length) return;
  console.log(JSON.stringify({ pid: process.pid, guard: childrenNamed('mesh-guard')[0] }));
});
commands.forEach((command, index) => {
  const ref = {
    job: asJobId(`doomed-${index}`),
    fence: { epoch: { counter: 1, node }, attempt: 1 },
  };
  const spec = {
    taskType: 'shell',
    command,
    params: '{}',
    env: {},
    timeoutMs: 300_000,
    priority: 5,
    needs: { labels: {}, capabilities: {} },
    delivery: 'at_least_once' as const,
    onIsolation: 'stop' as const,
  };
  const grant = { ...ref, nonce: asNonce('1.1'), rs: [node], oldRs: [], leaseMs: 6000, spec };
  executor.run({ ...ref, grant, lease: { tag: 'leased', leftMs: 6000 } });
});
