/**
 * `mesh demo`: three nodes on this machine find each other and run real jobs. It ends by itself,
 * leaves no process behind (also on Ctrl-C) and checks what it shows: a job that ended otherwise
 * than it should makes it fail.
 */
import { accessSync, constants } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../base/errors.ts';
import { type DemoNode, DemoNodes } from '../demo/demo-nodes.ts';
import { type JobRow, JobTable } from '../demo/job-table.ts';
import { DEMO_JOBS } from '../demo/jobs.ts';

const UNFINISHED = ['JOB_PENDING', 'JOB_ASSIGNED', 'JOB_RUNNING'];
const NAMES = ['node1', 'node2', 'node3'];
const FIND_DEADLINE_MS = 15_000;
const JOBS_DEADLINE_MS = 50_000;
const POLL_MS = 150;

interface JobJson {
  readonly job_id: string;
  readonly status: string;
  readonly target_node_id: string | null;
  readonly exit_code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Settles with the exit code: 0 as expected, 1 not, 130 interrupted. */
export async function runDemo(entry: string): Promise<number> {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt).on('SIGHUP', interrupt);
  const nodes = new DemoNodes(demoFolder(entry), entry);
  try {
    return await show(nodes, stop.signal);
  } catch (failure) {
    if (!stop.signal.aborted) throw failure;
    print('\nInterrupted: ending the three nodes.');
    return 130;
  } finally {
    await nodes.stop();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt).off('SIGHUP', interrupt);
  }
}

async function show(demo: DemoNodes, signal: AbortSignal): Promise<number> {
  print(`Starting three nodes (data in ${demo.folder}) …`);
  const startedAt = performance.now();
  const nodes = await demo.start(NAMES, signal);
  for (const node of nodes) print(`  ${node.name}  ${node.id}  ${node.url}`);
  await Promise.all(nodes.map((node) => seesAll(node, nodes.length - 1, signal)));
  print(`They found each other, ${seconds(startedAt)} s after the start of the first.\n`);
  const [first] = nodes;
  if (!first) return 1;
  print(`Submitting ${DEMO_JOBS.length} jobs to ${first.name} with one POST:\n`);
  const submittedAt = performance.now();
  const rows = await followJobs(first, nodes, signal);
  return summarize(rows, nodes, seconds(submittedAt));
}

async function seesAll(node: DemoNode, count: number, signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(FIND_DEADLINE_MS)]);
  try {
    for (;;) {
      const { peers } = await getJson<{ peers: { state: string }[] }>(
        `${node.url}/api/v1/peers`,
        deadline,
      );
      if (peers.filter((peer) => peer.state === 'alive').length === count) return;
      await sleep(50, undefined, { signal: deadline });
    }
  } catch (failure) {
    if (signal.aborted) throw failure;
    throw new Error(
      `${node.name} did not find the others within ${FIND_DEADLINE_MS / 1000} s: mesh doctor looks for the reason`,
    );
  }
}

async function followJobs(
  first: DemoNode,
  nodes: readonly DemoNode[],
  signal: AbortSignal,
): Promise<JobRow[]> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(JOBS_DEADLINE_MS)]);
  const ids = await submitAll(first, deadline);
  const names = new Map(nodes.map((node) => [node.id, node.name]));
  const table = new JobTable(process.stdout);
  for (;;) {
    const { jobs } = await getJson<{ jobs: JobJson[] }>(
      `${first.url}/api/v1/jobs?limit=1000&scope=node`,
      deadline,
    );
    const byId = new Map(jobs.map((job) => [job.job_id, job]));
    const rows = DEMO_JOBS.map((job, i) => toRow(job, byId.get(ids[i] ?? ''), names));
    table.draw(rows);
    if (rows.every((row) => row.isFinal)) return rows;
    await sleep(POLL_MS, undefined, { signal: deadline });
  }
}

async function submitAll(first: DemoNode, signal: AbortSignal): Promise<string[]> {
  const body = DEMO_JOBS.map((job) => ({
    command: job.command,
    ...(job.env && { env: job.env }),
    ...(job.timeoutSeconds !== undefined && { timeout_seconds: job.timeoutSeconds }),
  }));
  const response = await fetch(`${first.url}/api/v1/jobs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  const answer = (await response.json()) as { jobs?: JobJson[]; error?: string };
  if (response.status !== 201 || !answer.jobs)
    throw new Error(`the jobs were not taken: ${answer.error ?? response.status}`);
  return answer.jobs.map((job) => job.job_id);
}

function toRow(
  job: (typeof DEMO_JOBS)[number],
  seen: JobJson | undefined,
  names: Map<string, string>,
): JobRow {
  const status = seen?.status ?? 'JOB_PENDING';
  const node = seen?.target_node_id ? (names.get(seen.target_node_id) ?? '?') : undefined;
  const output = (seen?.stdout || seen?.stderr || '').trim().split('\n')[0] ?? '';
  return {
    job,
    status,
    node,
    exitCode: seen?.exit_code ?? null,
    output,
    isFinal: !UNFINISHED.includes(status),
  };
}

function summarize(rows: readonly JobRow[], nodes: readonly DemoNode[], took: string): number {
  const unexpected = rows.filter((row) => row.status !== row.job.expect);
  const count = (status: string): number => rows.filter((row) => row.status === status).length;
  const perNode = nodes.map(
    (node) => `${node.name} ${rows.filter((row) => row.node === node.name).length}`,
  );
  print(
    `\n${rows.length} jobs in ${took} s: ${count('JOB_COMPLETED')} completed, ${count('JOB_FAILED')} failed and ${count('JOB_TIMEOUT')} timed out, as they were meant to.`,
  );
  print(`Where they ran: ${perNode.join(', ')}.`);
  for (const row of unexpected)
    print(
      `NOT AS EXPECTED: ${row.job.title} is ${row.status} and not ${row.job.expect}: ${row.output}`,
    );
  if (unexpected.length > 0) return 1;
  print('\nNext: make run-node1, make run-node2 and make run-node3 in three terminals, then\n');
  print('  curl -X POST http://localhost:3001/api/v1/jobs \\');
  print('    -H "Content-Type: application/json" -d \'{"command": "echo Hello from the mesh!"}\'');
  return 0;
}

async function getJson<Body>(url: string, signal: AbortSignal): Promise<Body> {
  const response = await fetch(url, { signal });
  if (!response.ok)
    throw new Error(`${url} answered ${response.status}: ${messageOf(await response.text())}`);
  return (await response.json()) as Body;
}

/** In the checkout's ignored folder where it is writable, else among the temporary files. */
function demoFolder(entry: string): string {
  const checkout = dirname(dirname(entry));
  try {
    accessSync(checkout, constants.W_OK);
    return join(checkout, '.data', 'demo');
  } catch {
    // An installed program: its folder is not ours to write in.
    return join(tmpdir(), `worker-mesh-demo-${userInfo().uid}`);
  }
}

const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(1);
const print = (line: string): void => void process.stdout.write(`${line}\n`);
