/**
 * The guard: one small process per node that ends every listed group when the node dies, however
 * it dies. It waits on a pipe whose only writer is the node; the system closes it with the last
 * breath of a SIGKILL. It has a session of its own, so a Ctrl-C in the node's terminal does not
 * reach it, and it is a shell because a shell needs 1 MB and no start-up.
 *
 * A node that stops properly says `bye`. A guard that was itself killed is replaced. Ending groups
 * at once is its first duty only: the same pipe and the same files will let it hold the leases of
 * running attempts and hand them to a node that is started again.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { MeshError, messageOf } from '../../base/errors.ts';
import { GROUP_SUFFIX, OPEN_FILE, PROC_FOLDER, START_TIME_FUNCTIONS } from './listing.ts';

/**
 * Arguments: folder of the life, folder of /proc. Written for dash, where `kill -KILL -- -N` fails.
 * The leader of a group may be gone while its children live; its number cannot be given to
 * another process as long as they do, so that is no reason to spare them. A file that is not
 * complete belongs to a group that will see that `open` is gone and end by itself.
 * It tries for two seconds: a process inside a system call dies when that returns, and a group
 * whose dead nobody has fetched looks alive to `kill` for ever.
 */
export const GUARD_SCRIPT = `${START_TIME_FUNCTIONS}
trap '' INT HUP TERM QUIT PIPE
while read -r word; do [ "$word" = bye ] && exit 0; done
rm -f "$1/${OPEN_FILE}"
is_same() {
  stat=$(cat "$2/$pgid/stat" 2>/dev/null)
  if [ -n "$stat" ]; then __mesh_pick \${stat##*) }
  elif [ -e "$2/self/stat" ]; then return 0
  else __mesh_ask "$pgid"; fi
  [ -z "$started" ] || [ -z "$__mesh" ] || [ "$__mesh" = "$started" ]
}
round=0
while [ $round -lt 20 ]; do
  left=0
  for file in "$1"/*${GROUP_SUFFIX}; do
    pgid='' started=''
    { read -r pgid; read -r started; } <"$file"
    case $pgid in ''|0|1|*[!0-9]*) continue;; esac
    is_same "$1" "$2" && kill -s KILL -- "-$pgid" && left=1
  done 2>/dev/null
  [ $left = 0 ] && exit 0
  sleep 0.1
  round=$((round + 1))
done
`;

/** Guards that end sooner than this after their start are replaced at this pace from the second on. */
const RESTART_PAUSE_MS = 1000;
const BYE_DEADLINE_MS = 1000;

export interface GuardParts {
  /** Of the life it guards. */
  readonly folder: string;
  /** PATH of the node: where its system keeps cat, rm and sleep. */
  readonly path: string | undefined;
  readonly onProblem: (sentence: string) => void;
}

export class Guard {
  private readonly parts: GuardParts;
  private child: ChildProcess | undefined;
  private startedAt = 0;
  private earlyEndCount = 0;
  private timer: NodeJS.Timeout | undefined;
  private isStopped = false;

  constructor(parts: GuardParts) {
    this.parts = parts;
  }

  /** @throws MeshError INTERNAL when the system starts no process. */
  async start(): Promise<void> {
    if (this.child || this.isStopped) return;
    const failure = this.launch();
    if (failure === undefined) return;
    throw new MeshError(
      'INTERNAL',
      `The guard of running jobs cannot be started (${failure}). See whether /bin/sh works for this user and its limit of processes is reached.`,
    );
  }

  /** Says why it failed. */
  private launch(): string | undefined {
    this.startedAt = performance.now();
    const { folder, path } = this.parts;
    let child: ChildProcess;
    try {
      child = spawn('/bin/sh', ['-c', GUARD_SCRIPT, 'mesh-guard', folder, PROC_FOLDER], {
        detached: true,
        cwd: '/',
        env: { PATH: `${path ? `${path}:` : ''}/usr/bin:/bin`, LC_ALL: 'C' },
        stdio: ['pipe', 'ignore', 'ignore'],
      });
    } catch (thrown) {
      return messageOf(thrown);
    }
    // Its end is told by `exit`; an error after the start, or of the pipe, says nothing more.
    child.on('error', () => {});
    child.stdin?.on('error', () => {});
    if (child.pid === undefined) return 'no process could be made';
    // A program that uses the executor may end without a stop; the guard does its work then.
    child.unref();
    (child.stdin as unknown as { unref?: () => void }).unref?.();
    child.once('exit', () => this.onExit(child));
    this.child = child;
    return undefined;
  }

  private onExit(child: ChildProcess): void {
    if (this.child !== child) return;
    this.child = undefined;
    if (this.isStopped) return;
    this.parts.onProblem(
      'The guard of running jobs was ended by somebody; another one is started.',
    );
    const isEarly = performance.now() - this.startedAt < RESTART_PAUSE_MS;
    this.earlyEndCount = isEarly ? this.earlyEndCount + 1 : 0;
    if (this.earlyEndCount > 1) this.launchLater();
    else this.relaunch();
  }

  private relaunch(): void {
    const failure = this.isStopped ? undefined : this.launch();
    if (failure === undefined) return;
    this.parts.onProblem(
      `The guard of running jobs cannot be started (${failure}); it is tried again.`,
    );
    this.launchLater();
  }

  private launchLater(): void {
    this.timer = setTimeout(() => this.relaunch(), RESTART_PAUSE_MS);
    this.timer.unref();
  }

  /** Settles once the guard has ended. */
  async stop(): Promise<void> {
    this.isStopped = true;
    clearTimeout(this.timer);
    const { child } = this;
    if (!child) return;
    const ended = once(child, 'exit');
    child.ref();
    child.stdin?.end('bye\n');
    const late = setTimeout(() => child.kill('SIGKILL'), BYE_DEADLINE_MS);
    await ended;
    clearTimeout(late);
  }
}
