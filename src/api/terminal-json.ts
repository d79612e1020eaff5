/**
 * A terminal over a WebSocket. Binary messages are bytes: what is typed one way, what is shown the
 * other. Text messages are the JSON below. `?session=` is an id of the client's own choice; with
 * `offset` (bytes it has been shown) and `typed` (bytes the node said it took) a client whose
 * connection broke goes on exactly, at any node.
 */
import type { JobJson } from './job-json.ts';
import type { ProblemJson } from './problem.ts';

export const TERMINAL_TASK_TYPE = 'terminal';
/** The client says what it has at least this often, and the node sends no more than twice this ahead. */
export const ACK_EVERY_BYTES = 64 * 1024;

/** From the client. */
export type TerminalOrder =
  | { readonly type: 'resize'; readonly columns: number; readonly rows: number }
  /** It has been shown so many bytes. */
  | { readonly type: 'shown'; readonly offset: number };

/** From the node. */
export type TerminalNews =
  /** The program runs. */
  | { readonly type: 'ready'; readonly node_id: string }
  /** So many bytes of this session have been typed. */
  | { readonly type: 'taken'; readonly offset: number }
  /** What was shown before this is kept no more. */
  | { readonly type: 'gap'; readonly offset: number }
  /** Another client has it now; the connection is closed. */
  | { readonly type: 'taken_over' }
  | { readonly type: 'end'; readonly job: JobJson }
  | { readonly type: 'error'; readonly problem: ProblemJson };
