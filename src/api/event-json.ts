/**
 * Server-sent events: what each `event:` name carries as its `data:`, one JSON text on one line.
 *
 * The id of a job's event is a position, `<fence>:<stdout bytes>:<stderr bytes>`: the attempt, and
 * how much of each of its streams the reader has after this event; `-:0:0` before any attempt. Sent
 * back as Last-Event-ID (or `?after=`), to any node, it goes on exactly there.
 */
import type { JobStatusName } from './job-json.ts';

export const EVENT_STREAM_TYPE = 'text/event-stream';
export const NO_ATTEMPT_YET = '-';

/** `state`: at the beginning, and whenever one of these has changed. */
export interface StateEventJson {
  readonly job_id: string;
  readonly status: JobStatusName;
  readonly cancelling: boolean;
  readonly settling: boolean;
  readonly target_node_id: string | null;
  readonly attempt: number;
  /** Of that attempt; null: none. */
  readonly fence: string | null;
  readonly started_at: string | null;
}

/** `progress`: the last that its attempt told. */
export interface ProgressEventJson {
  readonly progress: number;
  readonly progress_message: string;
}

/** `attempt`: what follows is printed by this attempt, from its first byte on. */
export interface AttemptEventJson {
  readonly attempt: number;
  readonly fence: string;
  readonly node_id: string;
}

/** `output`: has `text` where the bytes are UTF-8 and not mostly control characters, else `base64`. */
export interface OutputEventJson {
  readonly stream: 'stdout' | 'stderr';
  /** Of the first byte. */
  readonly offset: number;
  readonly text?: string;
  readonly base64?: string;
  /** It printed more than is kept. */
  readonly truncated?: true;
}

/** `gap`: these bytes are nowhere any more; what follows begins behind them. */
export interface GapEventJson {
  readonly stream: 'stdout' | 'stderr';
  readonly from: number;
  /** Null: nor is anything that followed them. */
  readonly to: number | null;
  readonly reason: string;
}
