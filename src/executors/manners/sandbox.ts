/**
 * A sandbox by bubblewrap, for jobs that ask for one: everything of the machine is read-only, no
 * network, no view of other processes, an empty /tmp and /run (where the sockets of the system's
 * services are), and nothing of the node's own folders, where its key and other jobs' outputs are.
 * What the job may write to is its own working folder and what it names.
 *
 * It keeps a job from hurting by accident, and what it runs from looking around; it is no wall
 * against who attacks the kernel. `--die-with-parent` is left out: what is inside would be killed
 * with the first SIGTERM, and has its grace instead; the group is ended by its node anyway.
 */
import { execFile } from 'node:child_process';
import { realpath } from 'node:fs/promises';
import { relative } from 'node:path';
import { promisify } from 'node:util';
import type { RunOptions } from '../../run/run-options.ts';

const run = promisify(execFile);
const PROBE_DEADLINE_MS = 10_000;

export interface SandboxOrder {
  readonly sandbox: Exclude<RunOptions['sandbox'], undefined | false>;
  readonly folder: string;
  readonly isOwnFolder: boolean;
  /** Of the node: nobody sees what is in them. */
  readonly hidden: readonly string[];
  /** A file that the job may write to, wherever it is. */
  readonly openFiles: readonly string[];
  /** Why these may not be written to, as a phrase; paths without links. */
  readonly refusalOf: (writable: readonly string[]) => string | undefined;
}

const BASE = [
  '--unshare-all',
  // Who is root inside could make the rest of the machine writable again.
  ...['--cap-drop', 'ALL'],
  ...['--ro-bind', '/', '/'],
  ...['--dev', '/dev'],
  ...['--proc', '/proc'],
  ...['--tmpfs', '/tmp'],
  ...['--tmpfs', '/run'],
];

/** Names are looked up by way of it where systemd does that. */
const RESOLVER = '/run/systemd/resolve';

export type SandboxWords =
  | { readonly tag: 'ready'; readonly words: readonly string[] }
  /** A sentence for the user. */
  | { readonly tag: 'unusable'; readonly reason: string };

export async function sandboxWords(bwrap: string, order: SandboxOrder): Promise<SandboxWords> {
  const { sandbox, isOwnFolder, openFiles } = order;
  const { network = false, writable = [] } = sandbox === true ? {} : sandbox;
  const hidden = await Promise.all(order.hidden.map((path) => realpath(path).catch(() => path)));
  const found: string[] = [];
  for (const path of writable) {
    const real = await realpath(path).catch(() => undefined);
    if (real === undefined) return unusable(`${path}, which it is to write to, does not exist`);
    if (hidden.some((one) => isWithin(real, one))) {
      return unusable(`${path}, which it is to write to, is the node's own`);
    }
    found.push(real);
  }
  const refusal = order.refusalOf(found);
  if (refusal !== undefined) return unusable(refusal);
  // One that the job names may be a link, or lie above what is hidden.
  const folder = isOwnFolder ? order.folder : await realpath(order.folder);
  if (!isOwnFolder && hidden.some((one) => isWithin(folder, one))) {
    return unusable(`its working folder ${order.folder} is the node's own`);
  }
  const isOpened = found.some((path) => isWithin(folder, path));
  return {
    tag: 'ready',
    words: [
      bwrap,
      ...BASE,
      ...(network ? ['--share-net', '--ro-bind-try', RESOLVER, RESOLVER] : []),
      ...(isOwnFolder || isOpened ? [] : ['--ro-bind', folder, folder]),
      ...found.flatMap((path) => ['--bind', path, path]),
      ...hidden.flatMap((path) => ['--tmpfs', path]),
      ...(isOwnFolder ? ['--bind', folder, folder] : []),
      ...openFiles.flatMap((path) => ['--bind', path, path]),
      ...['--chdir', folder],
      '--',
    ],
  };
}

/** @returns what the system says against it; undefined: it lets this user make sandboxes */
export async function whyNoSandbox(bwrap: string): Promise<string | undefined> {
  try {
    await run(bwrap, [...BASE, '--', '/bin/sh', '-c', ':'], { timeout: PROBE_DEADLINE_MS });
    return undefined;
  } catch (thrown) {
    const said = (thrown as { stderr?: string }).stderr?.trim().split('\n')[0];
    return said || String(thrown);
  }
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way === '' || !(way === '..' || way.startsWith('../') || way.startsWith('/'));
}

const unusable = (why: string): SandboxWords => ({
  tag: 'unusable',
  reason: `The sandbox cannot be made on this node: ${why}.`,
});
