/** `mesh run`: a command on whichever node is elected, as if it ran here. */
import { constants } from 'node:os';
import { type Command, Option } from 'commander';
import { ON_ISOLATION } from '../../api/api.ts';
import type { ProgressEventJson } from '../../api/event-json.ts';
import type { JobJson } from '../../api/job-json.ts';
import type { JobRequest } from '../../api/job-request.ts';
import { TERMINAL_TASK_TYPE } from '../../api/terminal-json.ts';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { Client } from '../../client/client.ts';
import { ByteSink } from '../byte-sink.ts';
import {
  collectCapability,
  collectLabel,
  collectText,
  collectVariable,
  type Pairs,
  parseCount,
  parseReplicas,
  parseSeconds,
} from '../command-line.ts';
import type { CommandTree } from '../command-tree.ts';
import { EXIT } from '../exit-codes.ts';
import { sendInputs } from '../input-files.ts';
import { type Audience, followJob, type StreamName } from '../job-follower.ts';
import { addMannerOptions, type MannerOptions, toManners } from '../manner-options.ts';
import { type ConnectionOptions, connectToAny, connectWithEndpoints } from '../node-connection.ts';
import { progressText } from '../progress-text.ts';
import { type TaskOptions, toTask } from '../task-request.ts';
import { print, printError, printJson, visible } from '../terminal.ts';
import { tellWhyItWaits } from '../waiting-notice.ts';

interface RunOptions extends ConnectionOptions, MannerOptions, TaskOptions {
  readonly env?: Pairs;
  readonly timeout?: number;
  readonly node?: string;
  readonly label?: Pairs;
  readonly need?: Pairs;
  readonly priority?: number;
  readonly dir?: string;
  readonly id?: string;
  readonly atMostOnce?: boolean;
  readonly onIsolation?: JobRequest['on_isolation'];
  readonly replicas?: JobRequest['replicas'];
  readonly in?: readonly string[];
  readonly out?: readonly string[];
  readonly detach?: boolean;
  readonly terminal?: boolean;
}

const EXAMPLES = `
Examples:
  mesh run -- make -j4 test            # several words: exactly these arguments
  mesh run 'ls *.log | wc -l'          # one word: a line for /bin/sh
  mesh run --need gpu --timeout 2h -- python3 train.py
  mesh run --env STAGE=test --node atlas --detach -- ./deploy.sh
  mesh run -it -n atlas -- bash        # a shell on that node, in this terminal
  mesh run --type python report.py 2026     # or source: 'print(1)'
  mesh run --type http https://example.org/ # or: -- POST URL
  mesh run --docker alpine:3.20 -- ls -l /
  mesh run --in data.csv --in lib/=src/lib --out 'result/*' -- ./work.sh

Its output appears here as it is printed. Exit code: the command's own; 124
when it ran into its timeout, 125 when the mesh failed. The first Ctrl-C
cancels the job and waits for its end, the second leaves. The command's
standard input is empty, or what --stdin names.`;

export function addRun(tree: CommandTree): void {
  const command = tree
    .client('run', 'Run a command on a node of the mesh and show what it prints')
    .argument('[command...]', 'the command; put -- before it')
    .option('--type <task type>', 'what it is a job of: python, http, docker, … (default: shell)')
    .option('--docker <image>', 'in a container of this image: short for --type docker')
    .option('--params <json>', 'parameters of the task type, beside those that the words are')
    .option(
      '-e, --env <NAME=VALUE>',
      'variable for it (repeatable); NAME alone: as it is here',
      collectVariable,
    )
    .option(
      '-t, --timeout <duration>',
      'end it after so long (default: 5m of the node)',
      parseSeconds,
    )
    .option('-n, --node <node>', 'run it on this node, by id or name')
    .option('-l, --label <name=value>', 'only on nodes with this label (repeatable)', collectLabel)
    .option(
      '--need <capability>',
      'only on nodes that have it, name or name=value (repeatable)',
      collectCapability,
    )
    .option('-p, --priority <1-10>', 'the higher goes first (default: 5)', parseCount)
    .option('--dir <path>', 'working folder on that node (default: an own empty one)')
    .option('--id <id>', 'own id for the job: the same id is the same job')
    .option('--at-most-once', 'never run it twice: it is lost with its node')
    .addOption(
      new Option(
        '--on-isolation <what>',
        'what it does when its node is cut off (default: stop)',
      ).choices(ON_ISOLATION),
    )
    .option(
      '--replicas <1-3>',
      'nodes that must have it on disk, or it is not taken',
      parseReplicas,
    )
    .option('--in <file>', 'file or folder it gets, also as NAME=FILE (repeatable)', collectText)
    .option(
      '--out <pattern>',
      'files of its folder to keep, for mesh get (repeatable)',
      collectText,
    )
    .option('-i, --terminal', 'in a terminal there, with this one before it (also: -it)')
    .option('-d, --detach', 'print the id of the job and do not wait');
  addMannerOptions(command)
    .passThroughOptions()
    .addHelpText('after', EXAMPLES)
    .action(async (words: string[], _options: RunOptions, command: Command) => {
      const isBare = words.length === 0 && !hasTask(command.opts());
      if (isBare) command.error("error: missing required argument 'command'");
      tree.exitCode = await run(words, command.optsWithGlobals<RunOptions>());
    });
}

/** A task type may need no words. */
const hasTask = ({ type, docker }: TaskOptions): boolean =>
  docker !== undefined || (type !== undefined && type !== 'shell');

async function run(words: readonly string[], options: RunOptions): Promise<number> {
  if (options.terminal) return runInTerminal(words, options);
  const client = await connectToAny(options);
  const job = await client.submit(await withFiles(client, words, options));
  if (options.detach) {
    if (options.json) printJson(job);
    else print(job.job_id);
    return EXIT.ok;
  }
  if (options.json) printJson({ type: 'submitted', job });
  return new ForegroundJob(client, job.job_id, options.json ?? false).follow();
}

async function withFiles(
  client: Client,
  words: readonly string[],
  options: RunOptions,
): Promise<JobRequest> {
  const inputs = options.in && (await sendInputs(client, options.in));
  return {
    ...toRequest(words, options),
    ...(inputs && { inputs }),
    ...(options.out && { outputs: [...options.out] }),
  };
}

function toRequest(words: readonly string[], options: RunOptions): JobRequest {
  const { env, timeout, node, label, need, priority, dir, id } = options;
  const { atMostOnce, onIsolation, replicas } = options;
  return {
    ...toTask(words, options),
    ...toManners(options),
    ...(env && { env }),
    ...(timeout !== undefined && { timeout_seconds: timeout }),
    ...(node !== undefined && { target_node_id: node }),
    ...(label && { labels: label }),
    ...(need && { required: need }),
    ...(priority !== undefined && { priority }),
    ...(dir !== undefined && { working_dir: dir }),
    ...(id !== undefined && { job_id: id }),
    ...(atMostOnce && { delivery: 'at_most_once' as const }),
    ...(onIsolation !== undefined && { on_isolation: onIsolation }),
    ...(replicas !== undefined && { replicas }),
  };
}

/** A job may run so long; a terminal is closed sooner when nobody uses it. */
const LONGEST_SECONDS = 7 * 24 * 3600;

/** Never run a second time, and as long as somebody sits before it. */
async function runInTerminal(words: readonly string[], options: RunOptions): Promise<number> {
  const { stdin: input, stdout: output } = process;
  if (!input.isTTY || !output.isTTY || options.json || options.detach) {
    const reason = 'A terminal (-it) needs one here, too, and neither --json nor --detach.';
    throw new MeshError('BAD_REQUEST', reason);
  }
  const { client, endpoints } = await connectWithEndpoints(options);
  const { TERM = 'xterm-256color' } = process.env;
  const { job_id: job } = await client.submit({
    timeout_seconds: LONGEST_SECONDS,
    ...(await withFiles(client, words, options)),
    env: { TERM, ...options.env },
    task_type: TERMINAL_TASK_TYPE,
    delivery: 'at_most_once',
  });
  const onNotice = (sentence: string): void => printError(`mesh: ${visible(sentence)}\r`);
  // What it takes is loaded by who needs it.
  const { sitAtTerminal } = await import('../terminal-session.ts');
  const rising = await sitAtTerminal({ job, endpoints, input, output, onNotice });
  if (rising.tag === 'takenOver') return EXIT.mesh;
  if (rising.tag === 'left') {
    await client.cancel(job).catch(() => undefined);
    return EXIT.interrupted;
  }
  const ended = rising.job;
  const { code, notice } = endOf(ended);
  if (notice !== undefined && ended.exit_code === null) onNotice(notice);
  return code;
}

/** A job that this process stands for: signals go to it, its output and end come from it. */
class ForegroundJob implements Audience {
  private readonly client: Client;
  private readonly id: string;
  private readonly isJson: boolean;
  private readonly leave = new AbortController();
  private readonly sinks: Readonly<Record<StreamName, ByteSink>>;
  private readonly decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  private progressToldAt = Number.NEGATIVE_INFINITY;
  /** Exit code of the signal that has cancelled the job. */
  private interruptedWith: number | undefined;

  constructor(client: Client, id: string, isJson: boolean) {
    this.client = client;
    this.id = id;
    this.isJson = isJson;
    const onClosed = (): void => this.interrupt(EXIT.brokenPipe);
    this.sinks = {
      stdout: new ByteSink(process.stdout, onClosed),
      stderr: new ByteSink(process.stderr, onClosed),
    };
  }

  async follow(): Promise<number> {
    const onInterrupt = (): void => this.interrupt(EXIT.interrupted);
    const onTerminate = (): void => this.interrupt(EXIT.terminated);
    process.on('SIGINT', onInterrupt).on('SIGTERM', onTerminate);
    const over = new AbortController();
    void tellWhyItWaits({
      client: this.client,
      id: this.id,
      onNotice: (sentence) => this.onNotice(sentence),
      signal: over.signal,
    });
    try {
      const job = await followJob(this.client, this.id, this, { signal: this.leave.signal });
      return this.finish(job);
    } catch (failure) {
      if (!this.leave.signal.aborted) throw this.withHint(failure);
      this.onNotice(`left; the job may still run: mesh job ${this.id}`);
      return this.interruptedWith ?? EXIT.interrupted;
    } finally {
      over.abort();
      process.off('SIGINT', onInterrupt).off('SIGTERM', onTerminate);
    }
  }

  async onBytes(stream: StreamName, bytes: Uint8Array): Promise<void> {
    if (!this.isJson) return this.sinks[stream].write(bytes);
    const text = this.decoders[stream].decode(bytes, { stream: true });
    await this.sinks.stdout.write(`${JSON.stringify({ type: 'output', stream, text })}\n`);
  }

  /** Lines in a file or a pipe that nobody watches would only be in the way. */
  onProgress(progress: ProgressEventJson): void {
    if (this.isJson) printJson({ type: 'progress', ...progressOf(progress) });
    else if (process.stderr.isTTY && this.isProgressDue(progress))
      this.onNotice(progressText(progress));
  }

  /** Not more than a line a second. */
  private isProgressDue({ progress }: ProgressEventJson): boolean {
    const isDue = progress === 100 || performance.now() - this.progressToldAt >= 1000;
    if (isDue) this.progressToldAt = performance.now();
    return isDue;
  }

  onNotice(sentence: string): void {
    printError(`mesh: ${visible(sentence)}`);
  }

  private interrupt(exitCode: number): void {
    if (this.interruptedWith !== undefined) {
      this.leave.abort();
      return;
    }
    this.interruptedWith = exitCode;
    if (exitCode !== EXIT.brokenPipe) this.onNotice('cancelling the job; once more leaves it');
    this.client.cancel(this.id).catch((failure: unknown) => {
      // It had ended by itself: its own end is told in a moment.
      if (failure instanceof MeshError && failure.code === 'ALREADY_FINAL') return;
      this.onNotice(`it could not be cancelled: ${messageOf(failure)}`);
    });
  }

  private finish(job: JobJson): number {
    if (this.isJson) printJson({ type: 'ended', job });
    const { code, notice } = endOf(job);
    if (notice !== undefined && this.interruptedWith === undefined) this.onNotice(notice);
    if (job.status === 'JOB_CANCELLED') return this.interruptedWith ?? code;
    return code;
  }

  private withHint(failure: unknown): unknown {
    if (!(failure instanceof MeshError) || failure.code !== 'NODE_UNREACHABLE') return failure;
    const sentence = `${failure.message} Job ${this.id} is not lost with that: ask another node, or this one when it is back: mesh --api URL logs -f ${this.id}`;
    return new MeshError(failure.code, sentence, { cause: failure });
  }
}

const progressOf = ({ progress, progress_message }: ProgressEventJson): ProgressEventJson => ({
  progress,
  progress_message,
});

function endOf(job: JobJson): { code: number; notice?: string } {
  const reason = job.error_message ?? job.status;
  switch (job.status) {
    case 'JOB_COMPLETED':
      return { code: EXIT.ok };
    case 'JOB_TIMEOUT':
      return { code: EXIT.timeout, notice: reason };
    case 'JOB_FAILED': {
      if (job.exit_code !== null) return { code: job.exit_code };
      const number = signalNumber(job.signal);
      return { code: number === undefined ? EXIT.mesh : 128 + number, notice: reason };
    }
    default:
      return { code: EXIT.mesh, notice: reason };
  }
}

const signalNumber = (name: string | null): number | undefined =>
  Object.entries(constants.signals).find(([known]) => known === name)?.[1];
