/** Options of `mesh run` that say how the job is run, and what it may take. */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import type { JobRequest } from '../api/job-request.ts';
import { parseSizeBytes } from '../config/kinds.ts';
import { parseCount, parseSeconds } from './command-line.ts';

export interface MannerOptions {
  readonly queueTimeout?: number;
  readonly totalTimeout?: number;
  readonly stdin?: string;
  readonly umask?: string;
  readonly nice?: number;
  readonly user?: string;
  readonly cpuTime?: number;
  readonly memory?: number;
  readonly processes?: number;
  readonly openFiles?: number;
  readonly fileSize?: number;
  readonly sandbox?: boolean;
  readonly network?: boolean;
  readonly writable?: readonly string[];
}

export function addMannerOptions(command: Command): Command {
  return command
    .option(
      '--queue-timeout <duration>',
      'give it up if no node has taken it by then',
      parseSeconds,
    )
    .option(
      '--total-timeout <duration>',
      'end it after so long, waiting and repeats counted',
      parseSeconds,
    )
    .option('--stdin <file>', 'its standard input, up to 256 KiB; - is this one', readInput)
    .option('--umask <mode>', 'its umask, such as 027')
    .option('--nice <-20-19>', 'its niceness on that node', parseNiceness)
    .option('--user <user>', 'run it as this user of that node, if the node is root')
    .option('--cpu-time <duration>', 'processor time it may use', parseSeconds)
    .option('--memory <size>', 'memory it may use, such as 500MiB', parseBytes)
    .option('--processes <count>', 'processes it may have at once', parseCount)
    .option('--open-files <count>', 'files each of its processes may have open', parseCount)
    .option('--file-size <size>', 'size of each file it writes', parseBytes)
    .option('--sandbox', 'only its folder is writable, and no network (bubblewrap)')
    .option('--network', 'with a sandbox: the network, too')
    .option('--writable <path>', 'with a sandbox: this path, too (repeatable)', collectPath);
}

export function toManners(options: MannerOptions): Partial<JobRequest> {
  const { stdin, umask, nice, user, queueTimeout, totalTimeout } = options;
  const limits = limitsOf(options);
  const sandbox = sandboxOf(options);
  return {
    ...(queueTimeout !== undefined && { queue_timeout_seconds: queueTimeout }),
    ...(totalTimeout !== undefined && { total_timeout_seconds: totalTimeout }),
    ...(stdin !== undefined && { stdin }),
    ...(umask !== undefined && { umask }),
    ...(nice !== undefined && { nice }),
    ...(user !== undefined && { user }),
    ...(Object.keys(limits).length > 0 && { limits }),
    ...(sandbox !== undefined && { sandbox }),
  };
}

function limitsOf(options: MannerOptions): NonNullable<JobRequest['limits']> {
  const { cpuTime, memory, processes, openFiles, fileSize } = options;
  return {
    ...(cpuTime !== undefined && { cpu_seconds: Math.max(1, Math.ceil(cpuTime)) }),
    ...(memory !== undefined && { memory_bytes: memory }),
    ...(processes !== undefined && { processes }),
    ...(openFiles !== undefined && { open_files: openFiles }),
    ...(fileSize !== undefined && { file_bytes: fileSize }),
  };
}

/** Who opens a sandbox wants one. */
function sandboxOf({ sandbox, network, writable }: MannerOptions): JobRequest['sandbox'] {
  if (!network && !writable) return sandbox;
  return { ...(network && { network }), ...(writable && { writable: [...writable] }) };
}

const MAX_INPUT_BYTES = 256 * 1024;

function readInput(path: string): string {
  const bytes = readWhole(path);
  const text = bytes.toString('utf8');
  if (bytes.length > MAX_INPUT_BYTES) {
    throw new InvalidArgumentError('It is longer than 256 KiB: give it as an input file.');
  }
  if (!Buffer.from(text).equals(bytes)) {
    throw new InvalidArgumentError('It is no UTF-8 text: give it as an input file.');
  }
  return text;
}

function readWhole(path: string): Buffer {
  try {
    return readFileSync(path === '-' ? 0 : path);
  } catch (thrown) {
    throw new InvalidArgumentError(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function parseNiceness(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= -20 && value <= 19) return value;
  throw new InvalidArgumentError('It must be a whole number from -20 to 19.');
}

function parseBytes(text: string): number {
  const bytes = parseSizeBytes(text);
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError('Write it as 512KiB, 64MiB or 1048576.');
}

const collectPath = (path: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  path,
];
