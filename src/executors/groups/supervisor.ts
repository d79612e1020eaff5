/**
 * The supervisor: one small process per node that ends every group whose lease is over, also while
 * the node stands still, and that outlives the node, however that dies. It has a session of its
 * own, so a Ctrl-C in the node's terminal does not reach it. It learns of the node's death by a
 * pipe whose only writer is the node; all else it reads from files (life.ts, group-file.ts), so one
 * that was killed is replaced without being told anything, and the one of the next life takes over
 * by finding the files in its own folder. Two that see the same group do the same.
 *
 * It ends by itself when its node is gone and nothing of it runs. If it is killed together with
 * its node, nobody holds the leases until the next start.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { Life } from './life.ts';
import { signalGroup, startTimeOf } from './process-table.ts';
import { SUPERVISOR_SCRIPT } from './supervisor-script.ts';

/** Supervisors that end sooner than this after their start are replaced at this pace from the second on. */
const RESTART_PAUSE_MS = 1000;
/** A node that runs one short job after another does not wake its supervisor for each. */
const REST_AFTER_MS = 2000;

export interface SupervisorParts {
  readonly life: Life;
  readonly procFolder: string;
  /** PATH of the node: where its system keeps cat, rm and sleep. */
  readonly path: string | undefined;
  readonly onProblem: (sentence: string) => void;
}

export class Supervisor {
  private readonly parts: SupervisorParts;
  private child: ChildProcess | undefined;
  private nodeStartTime = '';
  private startedAt = 0;
  private earlyEndCount = 0;
  private restartTimer: NodeJS.Timeout | undefined;
  private restTimer: NodeJS.Timeout | undefined;
  private isBusy = false;
  private isStopped = false;

  constructor(parts: SupervisorParts) {
    this.parts = parts;
  }

  /** @throws MeshError INTERNAL when the system starts no process. */
  async start(): Promise<void> {
    this.nodeStartTime = (await startTimeOf(process.pid)) ?? '';
    if (this.child || this.isStopped) return;
    const failure = this.launch();
    if (failure === undefined) return;
    throw new MeshError(
      'INTERNAL',
      `The supervisor of running jobs cannot be started (${failure}). See whether /bin/sh works for this user and its limit of processes is reached.`,
    );
  }

  /** Something runs from now on: to be called before it starts. */
  wake(): void {
    clearTimeout(this.restTimer);
    this.restTimer = undefined;
    if (this.isBusy || this.isStopped) return;
    try {
      this.parts.life.setBusy(true);
      this.isBusy = true;
    } catch {
      // Then the group finds no room for its file either, and runs nothing.
    }
    this.child?.stdin?.write('look\n');
  }

  /** Nothing runs any more, for now. */
  rest(): void {
    clearTimeout(this.restTimer);
    if (this.isStopped) return;
    this.restTimer = setTimeout(() => this.sleep(), REST_AFTER_MS);
    this.restTimer.unref();
  }

  private sleep(): void {
    this.isBusy = false;
    try {
      this.parts.life.setBusy(false);
    } catch {
      // It looks on, once a second.
    }
  }

  /** Says why it failed. */
  private launch(): string | undefined {
    this.startedAt = performance.now();
    const { life, procFolder, path } = this.parts;
    const args = [life.folder, procFolder, String(process.pid), this.nodeStartTime];
    let child: ChildProcess;
    try {
      child = spawn('/bin/sh', ['-c', 'eval "$PROGRAM"', 'mesh-supervisor', ...args], {
        detached: true,
        cwd: '/',
        // Not an argument: whoever lists processes sees who it is, not four kilobytes of shell.
        env: {
          PATH: `${path ? `${path}:` : ''}/usr/bin:/bin`,
          LC_ALL: 'C',
          PROGRAM: `unset PROGRAM\n${SUPERVISOR_SCRIPT}`,
        },
        stdio: ['pipe', 'ignore', 'ignore'],
      });
    } catch (thrown) {
      return messageOf(thrown);
    }
    // Its end is told by `exit`; an error after the start, or of the pipe, says nothing more.
    child.on('error', () => {});
    child.stdin?.on('error', () => {});
    if (child.pid === undefined) return 'no process could be made';
    // A program that uses the executor may end without a stop; the supervisor does its work then.
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
      'The supervisor of running jobs was ended by somebody; another one is started.',
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
      `The supervisor of running jobs cannot be started (${failure}); it is tried again.`,
    );
    this.launchLater();
  }

  private launchLater(): void {
    this.restartTimer = setTimeout(() => this.relaunch(), RESTART_PAUSE_MS);
    this.restartTimer.unref();
  }

  /** Nothing runs any more. Settles once it has ended. */
  async stop(): Promise<void> {
    this.retire();
    const { child } = this;
    if (child?.pid === undefined) return;
    const ended = once(child, 'exit');
    child.ref();
    // With the program by which it pauses.
    signalGroup(child.pid, 'SIGKILL');
    await ended;
  }

  /** It goes on alone, as after this node's death. */
  async leave(): Promise<void> {
    this.retire();
    // Unnoted, it is found out when this process ends.
    await this.parts.life.noteDeath().catch(() => {});
    this.child?.stdin?.end();
  }

  private retire(): void {
    this.isStopped = true;
    clearTimeout(this.restartTimer);
    clearTimeout(this.restTimer);
  }
}
