/**
 * `make bench`: figures of this machine, each beside a reference of the same run, because machines
 * differ and are noisy. Medians; nothing is asserted.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { MeshProcesses, type NodeProcess } from '../e2e/mesh-processes.ts';
import { simulate } from '../sim/simulate.ts';
import { measureShellJobs } from './shell-jobs.ts';

const SAMPLES = 200;
const DISCOVERY_RUNS = 20;
const SIM_SEEDS = 300;

const run = promisify(execFile);
const print = (line: string): void => void process.stdout.write(`${line}\n`);

interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
}

function spreadOf(samples: readonly number[]): Spread {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), worst: sorted.at(-1) ?? 0 };
}

const show = (what: string, spread: Spread, unit = 'ms'): void =>
  print(
    `${what.padEnd(52)} p50 ${spread.p50.toFixed(1)}  p99 ${spread.p99.toFixed(1)}  worst ${spread.worst.toFixed(1)} ${unit}`,
  );

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await act();
  return performance.now() - startedAt;
}

// ---------------------------------------------------------------- rows

/** From the start of the last process until each of three lists both others. */
async function discovery(): Promise<void> {
  const samples: number[] = [];
  for (let i = 0; i < DISCOVERY_RUNS; i++) {
    const mesh = new MeshProcesses();
    try {
      const nodes = [await mesh.start('one'), await mesh.start('two')];
      samples.push(
        await timed(async () => {
          nodes.push(await mesh.start('three'));
          await Promise.all(nodes.map((node) => node.seesPeers(2)));
        }),
      );
    } finally {
      await mesh.stop();
    }
  }
  show(`a third node starts and all three see each other (${DISCOVERY_RUNS})`, spreadOf(samples));
}

/** One POST, then the result read in one long look at the output. */
async function latency(): Promise<void> {
  const mesh = new MeshProcesses();
  try {
    const [one, two] = await mesh.startMesh(['one', 'two', 'three']);
    if (!one || !two) return;
    const reference: number[] = [];
    const local: number[] = [];
    const forwarded: number[] = [];
    for (let i = 0; i < SAMPLES; i++) {
      reference.push(await timed(() => run('/bin/sh', ['-c', 'true'])));
      local.push(await timed(() => runOnce(one, one.id)));
      forwarded.push(await timed(() => runOnce(one, two.id)));
    }
    show(`reference: child_process, sh -c true (${SAMPLES})`, spreadOf(reference));
    show(`submit to seen result, true, local (${SAMPLES})`, spreadOf(local));
    show(`submit to seen result, true, forwarded (${SAMPLES})`, spreadOf(forwarded));
    await rest([one, two]);
  } finally {
    await mesh.stop();
  }
}

async function runOnce(node: NodeProcess, target: string): Promise<void> {
  const id = await node.submit('true', { target_node_id: target });
  // Follows the output to its end, which comes with the end of the job.
  await node.get(`/api/v1/jobs/${id}/output?stream=stdout&follow=true`);
  await node.jobEnds(id);
}

/** Resident memory and CPU of idle nodes in a mesh of three. */
async function rest(nodes: readonly NodeProcess[]): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5000));
  const before = nodes.map((node) => cpuSeconds(node.pid));
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  nodes.forEach((node, i) => {
    const percent = ((cpuSeconds(node.pid) - (before[i] ?? 0)) / 10) * 100;
    print(
      `${`${node.name} at rest, after the jobs above`.padEnd(52)} ${residentMiB(node.pid).toFixed(0)} MiB resident, ${percent.toFixed(1)} % of a core`,
    );
  });
  const mesh = new MeshProcesses();
  try {
    const fresh = await mesh.start('fresh');
    await new Promise((resolve) => setTimeout(resolve, 5000));
    print(`${'a fresh node alone'.padEnd(52)} ${residentMiB(fresh.pid).toFixed(0)} MiB resident`);
  } finally {
    await mesh.stop();
  }
}

function residentMiB(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) / 1024;
}

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function throughput(): Promise<void> {
  const mesh = new MeshProcesses();
  try {
    const [one] = await mesh.startMesh(['one']);
    if (!one) return;
    const count = 400;
    const xargs = await timed(() =>
      run('/bin/sh', ['-c', `yes true | head -${count} | xargs -P2 -I{} sh -c {}`]),
    );
    const ours = await timed(async () => {
      const { body } = await one.post<{ jobs: { job_id: string }[] }>(
        '/api/v1/jobs',
        Array.from({ length: count }, () => ({ command: 'true' })),
      );
      const last = body.jobs.at(-1);
      if (last) await one.jobEnds(last.job_id, 60_000);
    });
    print(
      `${`shell jobs/s, ${count} × true on one node of 2 slots`.padEnd(52)} ${((count / ours) * 1000).toFixed(0)}, xargs -P2 ${((count / xargs) * 1000).toFixed(0)}, ratio ${(xargs / ours).toFixed(2)}`,
    );
  } finally {
    await mesh.stop();
  }
}

async function simulation(): Promise<void> {
  let events = 0;
  const ms = await timed(async () => {
    for (let seed = 1; seed <= SIM_SEEDS; seed++) events += (await simulate(seed)).events;
  });
  print(
    `${`simulator, ${SIM_SEEDS} seeds`.padEnd(52)} ${(events / ms / 1000).toFixed(2)} M events/s`,
  );
}

print(`Node ${process.version}, ${process.platform}-${process.arch}`);
await discovery();
await latency();
await throughput();
for (const line of await measureShellJobs(1000, 3)) print(line);
await simulation();
