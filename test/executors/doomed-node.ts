/**
 * A node that is made to be killed: `doomed-node.ts FOLDER ORDERS [SOCKET]` (of a container engine) runs every order of the JSON list
 * and prints a JSON line with the ids of its own process and its supervisor once all have started.
 * A lease that is `isRenewed` is prolonged all the time. On SIGUSR2 it leaves: `stop('leave')`.
 */
import { asJobId, asNodeId, asNonce } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { SupervisedLease } from '../../src/core/effects.ts';
import { makeDocker } from '../../src/executors/docker/docker.ts';
import { createExecutors } from '../../src/executors/executors.ts';
import { shell } from '../../src/executors/shell.ts';
import { supervisorOf } from './processes.ts';

export interface DoomedOrder {
  readonly command: string;
  readonly lease: SupervisedLease;
  readonly isRenewed?: boolean;
  /** `JobSpec.run`. */
  readonly run?: string;
  /** Parameters of a docker job. */
  readonly docker?: object;
}

const RENEW_INTERVAL_MS = 200;

const [folder = '', text = '[]', socket] = process.argv.slice(2);
const orders = JSON.parse(text) as DoomedOrder[];
const node = asNodeId(`node-${'c'.repeat(32)}`);
const onProblem = (sentence: string): void => console.error(sentence);
const executor = createExecutors({
  folder,
  outputLimitBytes: 1000,
  taskTypes: [shell, ...(socket ? [makeDocker({ node, socket, mounts: [], onProblem })] : [])],
  now: () => asWall(Date.now()),
});

let runningCount = 0;
await executor.start((report) => {
  if (report.kind === 'ended') console.log(JSON.stringify(report.end));
  if (report.kind !== 'running') return;
  runningCount += 1;
  if (runningCount < orders.length) return;
  console.log(JSON.stringify({ pid: process.pid, supervisor: supervisorOf(folder) }));
});
orders.forEach(({ command, lease, isRenewed, run = '{}', docker }, index) => {
  const ref = {
    job: asJobId(`doomed-${index}`),
    fence: { epoch: { counter: 1, node }, attempt: 1 },
  };
  const spec = {
    taskType: docker ? 'docker' : 'shell',
    command,
    params: JSON.stringify(docker ?? {}),
    run,
    env: {},
    timeoutMs: 300_000,
    priority: 5,
    needs: { labels: {}, capabilities: {} },
    delivery: 'at_least_once' as const,
    onIsolation: 'stop' as const,
  };
  const grant = { ...ref, nonce: asNonce('1.1'), rs: [node], oldRs: [], leaseMs: 6000, spec };
  executor.run({ ...ref, grant, lease });
  if (isRenewed) setInterval(() => executor.prolong(ref.job, ref.fence, lease), RENEW_INTERVAL_MS);
});
process.on('SIGUSR2', async () => {
  await executor.stop('leave');
  process.exit(0);
});
