/**
 * One container from its creation to its removal. Whatever happens in between, it is removed, or
 * found by its label and removed later (leftovers.ts): an attempt is over when it is gone.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../base/errors.ts';
import type { AttemptEnd } from '../../core/job.ts';
import type { Ending } from '../hosted.ts';
import type { Place } from '../task-type.ts';
import { type Engine, EngineRefusal, isMissing } from './engine.ts';
import { unframe, writeOutput } from './frames.ts';
import { followStats, type Sampled } from './stats.ts';

/** What was printed arrives with the end of a container, or not any more. */
const OUTPUT_DEADLINE_MS = 5000;
/** An engine that is being restarted. */
const ENGINE_DEADLINE_MS = 10_000;
const ASK_AGAIN_MS = 500;
const REMOVE_TRIES = 3;

export interface ContainerOrder {
  readonly engine: Engine;
  /** Of POST /containers/create. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly stopSignal: string;
  readonly place: Place;
  /** From here on it exists. It starts when this has settled. */
  readonly onCreated: (id: string) => Promise<void>;
  readonly onRemoved: (id: string) => void;
  readonly onProblem: (sentence: string) => void;
}

export interface ContainerEnd {
  readonly end: AttemptEnd;
  readonly id: string;
  readonly exitCode: number | undefined;
  readonly isOutOfMemory: boolean;
  readonly usage: Sampled;
}

interface State {
  readonly Running: boolean;
  readonly ExitCode: number;
  readonly OOMKilled: boolean;
}

/** Rejects with a reason, or as an abort. */
export async function runContainer(order: ContainerOrder, ending: Ending): Promise<ContainerEnd> {
  const { engine, config } = order;
  // Not to be aborted: what was created must be known, to be removed.
  const created = (await engine.call({
    method: 'POST',
    path: '/containers/create',
    body: config,
  })) as { Id: string };
  const id = created.Id;
  try {
    await order.onCreated(id);
    ending.asked.throwIfAborted();
    return await follow(order, id, ending);
  } finally {
    if (await remove(order, id)) order.onRemoved(id);
  }
}

async function follow(order: ContainerOrder, id: string, ending: Ending): Promise<ContainerEnd> {
  const { engine, place } = order;
  const over = new AbortController();
  // Before the start, so that the first word is not missed.
  const query = { stream: '1', stdout: '1', stderr: '1' };
  const printed = await engine.open({
    method: 'POST',
    path: `/containers/${id}/attach`,
    query,
    signal: over.signal,
  });
  const written = writeOutput(unframe(printed), place).then(
    () => undefined,
    (failure: unknown) => failure,
  );
  try {
    await engine
      .call({ method: 'POST', path: `/containers/${id}/start` })
      .catch((thrown: unknown) => {
        // Without an answer it may run by now.
        throw thrown instanceof EngineRefusal ? thrown : new EngineAway(thrown);
      });
    const stats = followStats(engine, id, over.signal);
    endWhenAsked(order, id, ending);
    const state = await untilEnded(engine, id);
    const late = delay(OUTPUT_DEADLINE_MS, undefined, { signal: over.signal }).catch(() => {});
    const failure = await Promise.race([written, late]);
    if (failure !== undefined)
      order.onProblem(`Output of a container is lost: ${messageOf(failure)}.`);
    return { ...judge(state, ending), id, usage: stats() };
  } finally {
    over.abort();
    await written;
  }
}

function endWhenAsked(order: ContainerOrder, id: string, { asked, forced }: Ending): void {
  const kill = (signal: string): void => {
    const path = `/containers/${id}/kill`;
    order.engine.call({ method: 'POST', path, query: { signal } }).catch((thrown: unknown) => {
      // 404 and 409: it is not there or not running any more.
      if (thrown instanceof EngineRefusal && thrown.status < 500) return;
      order.onProblem(`A container could not be sent ${signal}: ${messageOf(thrown)}.`);
    });
  };
  whenAborted(asked, () => kill(order.stopSignal));
  whenAborted(forced, () => kill('SIGKILL'));
}

function whenAborted(signal: AbortSignal, act: () => void): void {
  if (signal.aborted) act();
  else signal.addEventListener('abort', act, { once: true });
}

/** Undefined: it is gone, and nobody knows how it ended. Rejects when the engine stays away. */
async function untilEnded(engine: Engine, id: string): Promise<State | undefined> {
  let awaySince: number | undefined;
  for (;;) {
    try {
      const answer = await engine.open({ method: 'POST', path: `/containers/${id}/wait` });
      awaySince = undefined;
      for await (const _ of answer);
      const about = (await engine.call({ path: `/containers/${id}/json` })) as { State: State };
      if (!about.State.Running) return about.State;
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      awaySince ??= performance.now();
      if (performance.now() - awaySince > ENGINE_DEADLINE_MS) throw new EngineAway(thrown);
    }
    await delay(ASK_AGAIN_MS);
  }
}

/** How the container ended, if it did, is not known. */
export class EngineAway extends Error {
  constructor(cause: unknown) {
    super(`the engine went away (${messageOf(cause)})`, { cause });
  }
}

type Judged = Pick<ContainerEnd, 'end' | 'exitCode' | 'isOutOfMemory'>;

function judge(state: State | undefined, { asked, forced }: Ending): Judged {
  if (!state) {
    const reason = 'the container was removed by somebody else';
    return { end: { tag: 'lost', reason }, exitCode: undefined, isOutOfMemory: false };
  }
  const { ExitCode: exitCode, OOMKilled: isOutOfMemory } = state;
  const about = { exitCode, isOutOfMemory };
  if (forced.aborted && exitCode === 137) return { ...about, end: signalled('SIGKILL') };
  if (asked.aborted && exitCode === 143) return { ...about, end: signalled('SIGTERM') };
  // The code may be 0 though: what was killed need not be the main process.
  if (isOutOfMemory) {
    const reason = `It used more memory than it may have, and was killed by the system (exit code ${exitCode}). Give it more with params.memory.`;
    return { ...about, end: { tag: 'failed', reason } };
  }
  return { ...about, end: { tag: 'exited', code: exitCode } };
}

const signalled = (signal: string): AttemptEnd => ({ tag: 'signalled', signal });

/** False: it may still be there. */
async function remove({ engine, onProblem }: ContainerOrder, id: string): Promise<boolean> {
  for (let tries = REMOVE_TRIES; ; tries--) {
    try {
      await removeContainer(engine, id);
      return true;
    } catch (thrown) {
      if (tries === 1) {
        onProblem(`The container ${id} cannot be removed yet (${messageOf(thrown)}).`);
        return false;
      }
    }
    await delay(ASK_AGAIN_MS);
  }
}

/** With its anonymous volumes, and also while it runs. */
export async function removeContainer(engine: Engine, id: string): Promise<void> {
  try {
    await engine.call({
      method: 'DELETE',
      path: `/containers/${id}`,
      query: { force: '1', v: '1' },
    });
  } catch (thrown) {
    // 409: somebody is removing it right now.
    if (!(thrown instanceof EngineRefusal) || ![404, 409].includes(thrown.status)) throw thrown;
  }
}
