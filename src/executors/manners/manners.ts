/**
 * How an attempt begins, as its job asks: all that is done between the start of its process and
 * the start of its program, whatever its task type. Three means: lines of shell that the process
 * runs before it becomes the program, programs that do one thing and become the next (`nice`,
 * `setpriv`, `bwrap`), and variables. A job that asks for nothing pays for nothing.
 *
 * What this node cannot do fails the attempt with the reason, and never runs it in another way:
 * one that names a user does not run as root because that user is not there.
 */
import { chown, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { messageOf } from '../../base/errors.ts';
import type { Limits, RunOptions } from '../../run/run-options.ts';
import type { NotRun } from '../failures.ts';
import { giveInputs } from '../files/inputs.ts';
import { type ListedLimits, limitsLine } from '../groups/group-file.ts';
import { quoted } from '../groups/start-scripts.ts';
import type { CgroupTree } from '../limits/cgroup-tree.ts';
import type { ProgressFile } from '../progress-files.ts';
import { type Account, findAccount } from './accounts.ts';
import { sandboxWords, whyNoSandbox } from './sandbox.ts';

export interface Manners {
  readonly begin: string;
  /** File and arguments of the programs before the job's own. */
  readonly prefix: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  readonly limits: ListedLimits | undefined;
}

export interface MannersOrder {
  readonly run: RunOptions;
  /** The working folder. */
  readonly folder: string;
  readonly isOwnFolder: boolean;
  /** Where its standard input may be written to. */
  readonly stdinPath: string;
  /** Made by the job itself, where it may. */
  readonly progressFile: Pick<ProgressFile, 'path' | 'make'>;
}

/** What the node has for it. */
export interface Means {
  /** Path of a program. */
  readonly find: (name: string) => Promise<string | undefined>;
  /** Folders of the node whose content is no job's business. */
  readonly hidden: readonly string[];
  /** Undefined: it may make none. */
  readonly cgroups: () => Promise<CgroupTree | undefined>;
  /** Why a sandbox of this job may not open these paths (without links), as a phrase. */
  readonly refusalOf: (opened: readonly string[]) => string | undefined;
}

export type Prepared = ({ readonly tag: 'ready' } & Manners) | NotRun;

const NOTHING: Prepared = { tag: 'ready', begin: '', prefix: [], variables: {}, limits: undefined };

/** Rejects never. */
export async function prepareManners(order: MannersOrder, means: Means): Promise<Prepared> {
  if (asksForNothing(order.run)) return NOTHING;
  try {
    return await prepare(order, means);
  } catch (thrown) {
    if (thrown instanceof Unable) return { tag: 'failed', reason: thrown.message };
    return {
      tag: 'returned',
      reason: `The node could not prepare the job (${messageOf(thrown)}).`,
    };
  }
}

const asksForNothing = ({ stdin, umask, user, nice, limits, sandbox }: RunOptions): boolean =>
  [stdin, umask, user, nice, limits].every((each) => each === undefined) && !sandbox;

/** Its message is a sentence for the user. */
class Unable extends Error {}

/** Then it has no business in the data folder of the node. */
export const mayBeAnotherUsers = ({ user }: RunOptions): boolean =>
  user !== undefined && process.getuid?.() === 0;

async function prepare(order: MannersOrder, means: Means): Promise<Prepared> {
  const { umask, nice, limits, sandbox } = order.run;
  const account = await accountOf(order);
  if (account || sandbox) await order.progressFile.make(account);
  const begin: string[] = [];
  const stdin = await stdinLines(order, account);
  if (umask !== undefined) begin.push(`umask ${umask}`);
  const prefix = [
    ...(nice === undefined ? [] : await niceWords(nice, means)),
    ...(account ? await userWords(account, means) : []),
    ...(await boxWords(order, means)),
  ];
  const held = limits && (await limitLines(limits, means, account));
  return {
    tag: 'ready',
    begin: [...begin, ...stdin, ...(held?.lines ?? [])].map((line) => `${line}\n`).join(''),
    prefix,
    variables: account ? { HOME: account.home, USER: account.name, LOGNAME: account.name } : {},
    limits: held?.limits,
  };
}

/** Undefined: the job runs as the node's own user. */
async function accountOf({ run, folder, isOwnFolder }: MannersOrder): Promise<Account | undefined> {
  const { user } = run;
  if (user === undefined) return undefined;
  const account = await findAccount(user);
  if (!account) throw new Unable(`There is no user ${user} on this node: name one that it has.`);
  const own = process.getuid?.();
  if (account.uid === own) return undefined;
  if (own !== 0) {
    throw new Unable(
      `The job asks for the user ${user}, and this node may run jobs only as its own user (${os.userInfo().username}): start it as root, or leave the user out.`,
    );
  }
  if (isOwnFolder) {
    await chown(folder, account.uid, account.gid);
    await giveInputs(run.inputs ?? [], { folder, uid: account.uid, gid: account.gid });
  }
  return account;
}

async function stdinLines(
  { run: { stdin }, stdinPath }: MannersOrder,
  account: Account | undefined,
): Promise<string[]> {
  if (stdin === undefined) return [];
  await writeFile(stdinPath, stdin, { mode: 0o600 });
  // A program may open it again by its name.
  if (account) await chown(stdinPath, account.uid, account.gid);
  const path = quoted(stdinPath);
  return [`[ -r ${path} ] || __mesh_unable stdin`, `exec <${path}`];
}

/** The program counts from where the node is. */
async function niceWords(niceness: number, means: Means): Promise<string[]> {
  const more = niceness - os.getPriority();
  if (more === 0) return [];
  if (more < 0 && process.getuid?.() !== 0) {
    throw new Unable(
      `The job asks for niceness ${niceness}, and this node's own is ${os.getPriority()}: only a node that runs as root may go below its own.`,
    );
  }
  return [await needed('nice', 'coreutils', means), '-n', String(more)];
}

async function userWords(account: Account, means: Means): Promise<string[]> {
  return [
    await needed('setpriv', 'util-linux', means),
    `--reuid=${account.uid}`,
    `--regid=${account.gid}`,
    '--init-groups',
    '--',
  ];
}

async function boxWords(order: MannersOrder, means: Means): Promise<readonly string[]> {
  const { sandbox } = order.run;
  if (!sandbox) return [];
  const bwrap = await needed('bwrap', 'bubblewrap', means);
  const against = await whyNoSandbox(bwrap);
  if (against !== undefined) {
    throw new Unable(
      `The system of this node refuses to make a sandbox (${against}): allow user namespaces there, or ask for another node.`,
    );
  }
  const { folder, isOwnFolder, progressFile } = order;
  const openFiles = [progressFile.path];
  const { hidden, refusalOf } = means;
  const about = { sandbox, folder, isOwnFolder, hidden, openFiles, refusalOf };
  const made = await sandboxWords(bwrap, about);
  if (made.tag === 'unusable') throw new Unable(made.reason);
  return made.words;
}

async function needed(program: string, pack: string, means: Means): Promise<string> {
  const found = await means.find(program);
  if (found !== undefined) return found;
  throw new Unable(`This node needs the program ${program} for that: install ${pack} there.`);
}

interface HeldLimits {
  readonly lines: readonly string[];
  readonly limits: ListedLimits;
}

async function limitLines(
  limits: Limits,
  means: Means,
  account: Account | undefined,
): Promise<HeldLimits | undefined> {
  if (Object.values(limits).every((each) => each === undefined)) return undefined;
  const { cpu_seconds = 0, memory_bytes, processes } = limits;
  const isShared = cpu_seconds > 0 || memory_bytes !== undefined || processes !== undefined;
  const cgroup = isShared ? await (await means.cgroups())?.make() : undefined;
  if (!cgroup && processes !== undefined && process.getuid?.() === 0 && !account) {
    throw new Unable(
      'A limit of processes cannot be kept on this node: it runs as root, whom the system counts no processes for, and may not make cgroups. Name a user for the job, or ask for another node.',
    );
  }
  try {
    await cgroup?.limit(memory_bytes, processes);
  } catch (thrown) {
    await cgroup?.remove();
    throw new Unable(`The system of the node did not take the limits (${messageOf(thrown)}).`);
  }
  const held = { cpuSeconds: cpu_seconds, cgroupFolders: cgroup?.folders ?? [] };
  const joins = held.cgroupFolders.map((folder) => `__mesh_join_group ${quoted(folder)}`);
  return {
    limits: held,
    // Of a cgroup it is the last resort, where the node is not there to look.
    lines: [
      `echo ${quoted(limitsLine(held))} >&2`,
      ...joins,
      ...ulimits(cgroup ? beside(limits) : limits),
    ],
  };
}

/** What a cgroup does not do; its count of processor time is the exact one, and goes first. */
const beside = ({ cpu_seconds, open_files, file_bytes }: Limits): Limits => ({
  cpu_seconds: cpu_seconds === undefined ? undefined : cpu_seconds + 1,
  open_files,
  file_bytes,
});

/** In an order in which none hinders the next. */
function ulimits(limits: Limits): string[] {
  const { cpu_seconds, memory_bytes, processes, open_files, file_bytes } = limits;
  const lines: string[] = [];
  if (cpu_seconds !== undefined) {
    // SIGXCPU first, which a program may heed; SIGKILL a second later.
    lines.push(`__mesh_limit -t ${cpu_seconds + 1} cpu_seconds`);
    lines.push(`ulimit -S -t ${cpu_seconds} 2>/dev/null`);
  }
  if (memory_bytes !== undefined) {
    lines.push(`__mesh_limit -v ${Math.ceil(memory_bytes / 1024)} memory_bytes`);
  }
  if (processes !== undefined) lines.push(`__mesh_limit_processes ${processes}`);
  if (open_files !== undefined) lines.push(`__mesh_limit -n ${open_files} open_files`);
  if (file_bytes !== undefined) {
    lines.push(`__mesh_limit -f ${Math.ceil(file_bytes / FILE_BLOCK_BYTES)} file_bytes`);
  }
  return lines;
}

/** Of `ulimit -f`, as POSIX has it. */
const FILE_BLOCK_BYTES = 512;
