/** `mesh jobs`, `job`, `logs`, `cancel`: looking at jobs and ending them. */
import type { Command } from 'commander';
import { isFinalStatus, type JobJson, type JobListJson } from '../../api/job-json.ts';
import type { NodeJson } from '../../api/node-json.ts';
import { ByteSink } from '../byte-sink.ts';
import { commandText, parseCount } from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { followJob, gapNotice, type StreamName } from '../job-follower.ts';
import { jobLines } from '../job-lines.ts';
import { type ConnectionOptions, connect, connectToAny } from '../node-connection.ts';
import { percentText } from '../progress-text.ts';
import {
  ageOf,
  type Column,
  print,
  printError,
  printJson,
  tableLines,
  terminalWidth,
  visible,
} from '../terminal.ts';

interface ListOptions extends ConnectionOptions {
  readonly limit: number;
  readonly status?: string;
  readonly node?: string;
  readonly type?: string;
  readonly cursor?: string;
  readonly local?: boolean;
}

interface LogsOptions extends ConnectionOptions {
  readonly follow?: boolean;
  readonly stderr?: boolean;
  readonly attempt?: string;
}

export function addJobs(tree: CommandTree): void {
  tree
    .client('jobs', 'List jobs of the whole mesh, newest first')
    .option('-n, --limit <count>', 'at most so many, 1 to 1000', parseCount, 20)
    .option(
      '-s, --status <status,…>',
      'only these: pending, assigned, running, completed, failed, timeout, cancelled, lost',
    )
    .option('--node <node>', 'only those of this node, by id or name')
    .option('--type <task type>', 'only of this task type')
    .option('--cursor <text>', 'go on where an earlier list ended')
    .option('--local', 'only what the asked node itself knows')
    .addHelpText(
      'after',
      '\nExamples:\n  mesh jobs --status running\n  mesh jobs -n 1000 --json | jq -r .jobs[].job_id',
    )
    .action(async (_options: ListOptions, command: Command) => listJobs(command.optsWithGlobals()));
  tree
    .client('job', 'Show one job: where it is, why, and how it ended')
    .alias('show')
    .argument('<id>', 'id of the job')
    .action(async (id: string, _options: unknown, command: Command) =>
      showJob(id, command.optsWithGlobals()),
    );
  tree
    .client('logs', 'Print what a job has printed')
    .argument('<id>', 'id of the job')
    .option('-f, --follow', 'go on until it ends, also with its next attempts')
    .option('--attempt <number>', 'what this attempt printed (default: the newest)')
    .option('--stderr', 'its stderr in place of its stdout')
    .addHelpText(
      'after',
      '\nExamples:\n  mesh logs -f job-7h2k…\n  mesh logs --stderr job-7h2k… > errors.txt',
    )
    .action(async (id: string, _options: LogsOptions, command: Command) => {
      tree.exitCode = await showLogs(id, command.optsWithGlobals());
    });
  tree
    .client('cancel', 'Cancel a job and end its processes')
    .argument('<id>', 'id of the job')
    .action(async (id: string, _options: unknown, command: Command) =>
      cancelJob(id, command.optsWithGlobals()),
    );
}

// ---------------------------------------------------------------- list

async function listJobs(options: ListOptions): Promise<void> {
  const client = await connect(options);
  const { limit, status, node, type, cursor, local } = options;
  const filter = {
    limit,
    status: status?.split(','),
    node,
    taskType: type,
    cursor,
    scope: local ? ('node' as const) : undefined,
  };
  if (options.json) {
    printJson(await client.listJobs(filter));
    return;
  }
  const [list, { nodes }] = await Promise.all([client.listJobs(filter), client.nodes()]);
  printList(list, nodes);
}

function printList(list: JobListJson, nodes: readonly NodeJson[]): void {
  const names = new Map(nodes.map((node) => [node.node_id, node.name]));
  if (list.jobs.length === 0) print('No jobs.');
  else for (const line of tableLines(columnsOf(names), list.jobs, terminalWidth())) print(line);
  if (list.next_cursor !== null) print(`More: add --cursor ${list.next_cursor}`);
  for (const { node_id, reason } of list.partial) {
    printError(
      `Jobs of ${visible(names.get(node_id) ?? node_id)} may be missing: ${visible(reason)}.`,
    );
  }
}

function columnsOf(names: ReadonlyMap<string, string>): Column<JobJson>[] {
  const now = Date.now();
  return [
    { title: 'JOB', text: (job) => job.job_id, maxWidth: 26 },
    { title: 'STATUS', text: (job) => job.status.replace('JOB_', '').toLowerCase() },
    { title: 'NODE', text: (job) => nameOf(job.target_node_id, names), maxWidth: 12 },
    {
      title: 'EXIT',
      text: (job) => job.signal ?? String(job.exit_code ?? '-'),
      isRight: true,
      maxWidth: 8,
    },
    { title: 'DONE', text: (job) => percentText(job.progress), isRight: true },
    { title: 'AGE', text: (job) => ageOf(job.created_at, now), isRight: true },
    { title: 'COMMAND', text: commandText },
  ];
}

const nameOf = (id: string | null, names: ReadonlyMap<string, string>): string =>
  id === null ? '-' : (names.get(id) ?? id.slice(0, 12));

// ---------------------------------------------------------------- one job

async function showJob(id: string, options: ConnectionOptions): Promise<void> {
  const client = await connect(options);
  if (options.json) {
    printJson(await client.getJob(id));
    return;
  }
  const [job, { nodes }] = await Promise.all([client.getJob(id), client.nodes()]);
  const names = new Map(nodes.map((node) => [node.node_id, node.name]));
  for (const line of jobLines(job, (node) => names.get(node))) print(line);
}

const NODE_AWAY = 'the node that has them cannot be asked';

async function showLogs(id: string, options: LogsOptions): Promise<number> {
  const client = await connectToAny(options);
  const stop = new AbortController();
  const sink = new ByteSink(process.stdout, () => stop.abort());
  const decoder = new TextDecoder();
  const stream = options.stderr ? 'stderr' : 'stdout';
  const onBytes = (_stream: StreamName, bytes: Uint8Array): Promise<void> => {
    if (!options.json) return sink.write(bytes);
    const text = decoder.decode(bytes, { stream: true });
    return sink.write(`${JSON.stringify({ stream, text })}\n`);
  };
  const onNotice = (sentence: string): void => printError(`mesh: ${visible(sentence)}`);
  let isTruncated = false;
  const onCut = (isCut: boolean): void => {
    isTruncated = isCut;
  };
  try {
    if (options.follow && options.attempt === undefined) {
      const audience = { onBytes, onNotice, onCut: () => onCut(true) };
      await followJob(client, id, audience, { stream, signal: stop.signal });
    } else
      for await (const bytes of client.output(id, {
        stream,
        follow: options.follow,
        attempt: options.attempt,
        signal: stop.signal,
        onAttempt: (_attempt, isCut) => onCut(isCut),
        onGap: (from, to) => onNotice(gapNotice(stream, { from, to, reason: NODE_AWAY })),
      }))
        await onBytes(stream, bytes);
  } catch (failure) {
    if (!stop.signal.aborted) throw failure;
    return EXIT.brokenPipe;
  }
  if (isTruncated) printError(`mesh: the job printed more to its ${stream} than is kept.`);
  return EXIT.ok;
}

async function cancelJob(id: string, options: ConnectionOptions): Promise<void> {
  const client = await connect(options);
  const cancelled = await client.cancel(id);
  if (options.json) {
    printJson(cancelled);
    return;
  }
  const job =
    cancelled.status === 'cancelling' ? await client.getJob(id, { waitSeconds: 10 }) : undefined;
  const isOver = !job || isFinalStatus(job.status);
  print(
    isOver
      ? `${visible(id)} is cancelled.`
      : `${visible(id)} is being cancelled; its processes have not ended yet.`,
  );
}
