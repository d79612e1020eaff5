/**
 * Follows a job by its events, over as many connections and nodes as it takes: one that breaks is
 * opened again behind the last event that came whole, at the same node or at another one, so each
 * byte of the output is told once. A node that says nothing for longer than its heartbeats are
 * apart counts as broken off: of a machine that lost its power nobody else tells.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  AttemptEventJson,
  GapEventJson,
  OutputEventJson,
  ProgressEventJson,
  StateEventJson,
} from '../api/event-json.ts';
import type { JobJson } from '../api/job-json.ts';
import { fromProblem } from '../api/problem.ts';
import { MeshError } from '../base/errors.ts';
import { type Requests, withQuery } from './request.ts';

export interface EventOptions {
  /** Of which streams output is told. Default: both. */
  readonly stream?: 'both' | 'stdout' | 'stderr' | 'none' | undefined;
  /** Id of an event: goes on behind it. Default: the newest attempt from its first byte on. */
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** With the id to go on from. The last one is an `end`. */
export type JobEvent = { readonly id: string } & (
  | ({ readonly type: 'state' } & StateEventJson)
  | ({ readonly type: 'progress' } & ProgressEventJson)
  | ({ readonly type: 'attempt' } & AttemptEventJson)
  | ({ readonly type: 'gap' } & GapEventJson)
  | ({ readonly type: 'output'; readonly bytes: Uint8Array } & Omit<
      OutputEventJson,
      'text' | 'base64'
    >)
  | { readonly type: 'end'; readonly job: JobJson }
);

/** Three heartbeats of the node. */
const SILENCE_MS = 45_000;
/** Without an event: a mesh that has lost its owner of the job needs some seconds itself. */
const PATIENCE_MS = 30_000;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2000;

export async function* followEvents(
  requests: Requests,
  path: string,
  options: EventOptions,
): AsyncGenerator<JobEvent, void, void> {
  const { stream, signal } = options;
  let after = options.after;
  let pauseMs = FIRST_PAUSE_MS;
  let lastEventAt = performance.now();
  let isBegun = false;
  for (;;) {
    try {
      for await (const event of connection(requests, withQuery(path, { stream, after }), signal)) {
        isBegun = true;
        after = event.id;
        pauseMs = FIRST_PAUSE_MS;
        yield event;
        if (event.type === 'end') return;
        lastEventAt = performance.now();
      }
    } catch (failure) {
      signal?.throwIfAborted();
      const isOver = performance.now() - lastEventAt > PATIENCE_MS;
      if (!isBreak(failure) || !isBegun || isOver) throw toMeshError(failure);
    }
    await sleep(pauseMs, undefined, signal && { signal });
    pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2);
  }
}

async function* connection(
  requests: Requests,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<JobEvent, void, void> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error('the node fell silent')), SILENCE_MS);
  const either = signal ? AbortSignal.any([signal, silence.signal]) : silence.signal;
  try {
    const response = await requests.sendAnywhere(path, { signal: either });
    for await (const text of eventTexts(response.body, () => timer.refresh())) {
      const event = parseEvent(text);
      if (event) yield event;
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

/** What stands between two empty lines; what is not whole at the end is left out. */
async function* eventTexts(
  body: ReadableStream<Uint8Array> | null,
  onBytes: () => void,
): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of body ?? []) {
    onBytes();
    const from = Math.max(0, text.length - 1);
    text += decoder.decode(bytes, { stream: true });
    let begin = 0;
    for (let end = text.indexOf('\n\n', from); end >= 0; end = text.indexOf('\n\n', begin)) {
      yield text.slice(begin, end);
      begin = end + 2;
    }
    text = text.slice(begin);
  }
}

/** Undefined: a heartbeat, or of a kind that a newer node knows. @throws MeshError of an `error` */
function parseEvent(text: string): JobEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf(': ');
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 2));
  }
  const data = fields.get('data');
  if (data === undefined) return undefined;
  const value = JSON.parse(data);
  const id = fields.get('id') ?? '';
  const type = fields.get('event');
  switch (type) {
    case 'state':
    case 'progress':
    case 'attempt':
    case 'gap':
      return { ...value, type, id };
    case 'output':
      return { ...toOutput(value), type, id };
    case 'end':
      return { type, id, job: value };
    case 'error':
      throw fromProblem(value) ?? new MeshError('INTERNAL', 'The node cannot tell more.');
    default:
      return undefined;
  }
}

function toOutput({ text, base64, ...event }: OutputEventJson) {
  return { ...event, bytes: base64 === undefined ? Buffer.from(text ?? '') : fromBase64(base64) };
}

const fromBase64 = (text: string): Uint8Array => Buffer.from(text, 'base64');

/** Anything but an answer that says what is wrong. */
const isBreak = (failure: unknown): boolean => !(failure instanceof MeshError) || failure.retryable;

const toMeshError = (failure: unknown): MeshError =>
  failure instanceof MeshError
    ? failure
    : new MeshError('NODE_UNREACHABLE', 'The connection to the node broke again and again.', {
        cause: failure,
      });
