/**
 * Task type `terminal`: a program in a terminal of its own, for somebody who sits before it. What it
 * shows is kept as the attempt's stdout like any output, as far as the limit goes.
 *
 * @lydell/node-pty: node-pty as its authors publish it, with binaries for Linux, macOS and Windows
 * in packages of their own, so that no compiler and no install script is needed. The program runs in
 * a session of its own below this node and ends with it: the terminal closes. It is no process group
 * under the supervisor, so nothing but the node's own life and its calls end it.
 */

import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { constants } from 'node:os';
import type { IPty } from '@lydell/node-pty';
import { messageOf } from '../../base/errors.ts';
import type { TerminalCall, TerminalReply } from '../../core/calls.ts';
import type { AttemptEnd } from '../../core/job.ts';
import { attemptKey } from '../../core/record.ts';
import type { Terminals } from '../../node/ports.ts';
import { signalSession, untilSessionIsGone } from '../groups/process-table.ts';
import { ENDED_ON_REQUEST, type Ending, Hosted } from '../hosted.ts';
import type { Launch, Launched, Sighting, TaskType } from '../task-type.ts';
import { type Abandoned, TerminalSession } from './session.ts';

type NodePty = typeof import('@lydell/node-pty');

const FIRST_SIZE = { cols: 80, rows: 24 };
/** What was shown last can be asked for so long after the end. */
const LINGER_MS = 30_000;
const GONE_DEADLINE_MS = 5000;

/** Of what a job may ask for: files come and go as with any other. */
const USABLE: ReadonlySet<string> = new Set(['argv', 'inputs', 'outputs']);

const ABANDONED: Readonly<Record<Abandoned, string>> = {
  absent: 'Its client went away and did not come back.',
  idle: 'Nothing was typed for longer than a terminal may rest (setting terminal-idle).',
};

export class TerminalType implements TaskType, Terminals {
  readonly name = 'terminal';
  private readonly idleMs: number;
  private readonly sessions = new Map<string, TerminalSession>();

  constructor(idleMs: number) {
    this.idleMs = idleMs;
  }

  async look(): Promise<Sighting> {
    try {
      await loadPty();
      return { tag: 'present' };
    } catch (failure) {
      return { tag: 'absent', reason: `@lydell/node-pty cannot be loaded: ${messageOf(failure)}` };
    }
  }

  async launch(launch: Launch): Promise<Launched> {
    const { order, run } = launch;
    const { argv } = run;
    const name = Object.keys(run).find((each) => !USABLE.has(each));
    if (name !== undefined) {
      const reason = `A terminal cannot be run with ${name}.`;
      return { tag: 'failed', reason };
    }
    const { command, delivery } = order.grant.spec;
    if (delivery !== 'at_most_once') {
      const reason = 'A terminal is never started again: submit it with delivery at_most_once.';
      return { tag: 'failed', reason };
    }
    const program = argv ?? ['/bin/sh', '-c', command || 'exec /bin/sh'];
    const { spawn } = await loadPty();
    const running = new Hosted((ending) => this.host(launch, { program, spawn, ending }));
    return { tag: 'started', running };
  }

  async answer(call: TerminalCall, signal: AbortSignal): Promise<TerminalReply> {
    const session = this.sessions.get(attemptKey(call.job, call.fence));
    return session ? session.answer(call.session, call.ask, signal) : { tag: 'unknown' };
  }

  private async host(
    { order, place, env }: Launch,
    start: { program: readonly string[]; spawn: NodePty['spawn']; ending: Ending },
  ): Promise<AttemptEnd> {
    const [file = '', ...args] = start.program;
    const { TERM = 'xterm-256color' } = env;
    const pty = start.spawn(file, args, {
      ...FIRST_SIZE,
      name: TERM,
      cwd: place.path,
      env: { ...env, TERM },
      encoding: null,
    });
    const transcript = createWriteStream(place.stdout, { flags: 'a' });
    // A full disk costs the transcript, not the terminal.
    transcript.on('error', () => undefined);
    let abandoned: Abandoned | undefined;
    const session = new TerminalSession(pty, {
      idleMs: this.idleMs,
      keep: (bytes) => transcript.destroyed || transcript.write(bytes),
      onAbandoned: (why) => {
        abandoned = why;
        hangUp(pty);
      },
    });
    transcript.on('drain', () => session.drained());
    const key = attemptKey(order.job, order.fence);
    this.sessions.set(key, session);
    const end = await untilExit(pty, start.ending);
    session.over();
    setTimeout(() => this.sessions.delete(key), LINGER_MS).unref();
    await closeTranscript(transcript);
    return abandoned ? { tag: 'failed', reason: ABANDONED[abandoned] } : end;
  }
}

/** Loaded by the first terminal: most nodes never have one. */
const loadPty = (): Promise<NodePty> => import('@lydell/node-pty');

/** As when somebody closes a terminal's window; what does not mind is killed. */
function hangUp(pty: IPty): void {
  void signalSession(pty.pid, 'SIGHUP', { hasLeader: true });
  setTimeout(() => void signalSession(pty.pid, 'SIGKILL', { hasLeader: true }), 2000).unref();
}

/** Settles when nothing of its session is alive. */
async function untilExit(pty: IPty, { asked, forced }: Ending): Promise<AttemptEnd> {
  const exited = new Promise<AttemptEnd>((resolve) => {
    pty.onExit(({ exitCode, signal }) => resolve(toEnd(exitCode, signal)));
  });
  const onAsked = (): void => {
    void signalSession(pty.pid, 'SIGHUP', { hasLeader: true });
    void signalSession(pty.pid, 'SIGTERM', { hasLeader: true });
  };
  const onForced = (): void => void signalSession(pty.pid, 'SIGKILL', { hasLeader: true });
  asked.addEventListener('abort', onAsked, { once: true });
  forced.addEventListener('abort', onForced, { once: true });
  if (asked.aborted) onAsked();
  if (forced.aborted) onForced();
  const end = await exited;
  await signalSession(pty.pid, 'SIGKILL', { hasLeader: false });
  await untilSessionIsGone(pty.pid, GONE_DEADLINE_MS);
  return asked.aborted ? ENDED_ON_REQUEST : end;
}

function toEnd(exitCode: number, signal: number | undefined): AttemptEnd {
  if (!signal) return { tag: 'exited', code: exitCode };
  const [name = `SIG${signal}`] =
    Object.entries(constants.signals).find(([, number]) => number === signal) ?? [];
  return { tag: 'signalled', signal: name };
}

async function closeTranscript(transcript: WriteStream): Promise<void> {
  if (transcript.destroyed) return;
  transcript.end();
  await once(transcript, 'close').catch(() => undefined);
}
