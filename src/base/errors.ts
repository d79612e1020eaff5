/**
 * The one table of error codes. An expected result is an outcome in a return type; a failure at an
 * edge is a MeshError with a code from here; a broken invariant is an assertion. Codes are stable
 * and never reused; the README prints this table.
 */

export const ERROR_CODES = {
  BAD_REQUEST: {
    status: 400,
    retryable: false,
    meaning: 'The request is not of the documented form.',
  },
  BAD_PARAMS: {
    status: 400,
    retryable: false,
    meaning: 'The parameters are not as the task type demands.',
  },
  BAD_JSON: { status: 400, retryable: false, meaning: 'The body is not JSON.' },
  UNAUTHORIZED: {
    status: 401,
    retryable: false,
    meaning: 'A token is needed, or the one given is wrong.',
  },
  FORBIDDEN: { status: 403, retryable: false, meaning: 'The token has not the role this needs.' },
  POLICY: {
    status: 403,
    retryable: false,
    meaning: 'The policy of this node does not let such a job through.',
  },
  CROSS_SITE: {
    status: 403,
    retryable: false,
    meaning: 'A web page of another origin asked; pages may not.',
  },
  NOT_FOUND: { status: 404, retryable: false, meaning: 'There is no such route.' },
  JOB_NOT_FOUND: { status: 404, retryable: false, meaning: 'No reachable node knows this job.' },
  NODE_NOT_FOUND: {
    status: 404,
    retryable: false,
    meaning: 'No node of this id or name is known here.',
  },
  OUTPUT_GONE: {
    status: 410,
    retryable: false,
    meaning: 'The output was deleted by retention or its disk is gone.',
  },
  BLOB_NOT_FOUND: {
    status: 404,
    retryable: false,
    meaning: 'No node that could be asked has this file.',
  },
  BLOB_MISMATCH: {
    status: 422,
    retryable: false,
    meaning: 'What was sent has another length or hash than its name says.',
  },
  WRONG_OFFSET: {
    status: 409,
    retryable: false,
    meaning: 'The upload does not begin where the bytes that are here end.',
  },
  BAD_RANGE: {
    status: 416,
    retryable: false,
    meaning: 'The file has no bytes in the range that was asked for.',
  },
  STORAGE_FULL: {
    status: 507,
    retryable: true,
    meaning: 'This node keeps as many bytes of files as it may.',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    retryable: false,
    meaning: 'The route exists, this method on it does not.',
  },
  KEY_CONFLICT: {
    status: 409,
    retryable: false,
    meaning: 'This id or idempotency key names a job of other content.',
  },
  ALREADY_FINAL: {
    status: 409,
    retryable: false,
    meaning: 'The job had ended before it could be cancelled.',
  },
  NOT_CURRENT: {
    status: 409,
    retryable: false,
    meaning: 'The worker has not, or no longer, the attempt that it names.',
  },
  NODE_ALIVE: {
    status: 409,
    retryable: false,
    meaning: 'The node is alive: only one that will not return is forgotten.',
  },
  BODY_TOO_LARGE: { status: 413, retryable: false, meaning: 'The body is over the limit.' },
  NOT_JSON: {
    status: 415,
    retryable: false,
    meaning: 'The body must be sent as application/json.',
  },
  WRONG_HOST: {
    status: 421,
    retryable: false,
    meaning: 'The Host header does not name this node.',
  },
  NO_SUCH_RANGE: {
    status: 416,
    retryable: false,
    meaning: 'The output has no byte in the range that was asked for.',
  },
  QUEUE_FULL: {
    status: 429,
    retryable: true,
    meaning: 'This node owns as many unfinished jobs as it may.',
  },
  TOO_MANY_FAILURES: {
    status: 429,
    retryable: true,
    meaning: 'Too many wrong tokens from this address.',
  },
  INTERNAL: {
    status: 500,
    retryable: false,
    meaning: 'A fault of the program; the log has the details.',
  },
  DRAINING: {
    status: 503,
    retryable: true,
    meaning: 'This node is shutting down and takes no new jobs.',
  },
  OWNER_UNREACHABLE: {
    status: 503,
    retryable: true,
    meaning: 'The node that decides about this job cannot be reached now.',
  },
  NOT_KNOWABLE: {
    status: 503,
    retryable: true,
    meaning: 'Some nodes could not be asked, so the answer is not known.',
  },
  NOT_ENOUGH_REPLICAS: {
    status: 503,
    retryable: true,
    meaning: 'Fewer nodes took the job in time than were asked for; it will not run.',
  },
  NO_QUORUM: {
    status: 503,
    retryable: true,
    meaning: 'The nodes that keep this id do not answer; nothing was recorded.',
  },
  BUSY: {
    status: 503,
    retryable: true,
    meaning: 'More requests are waiting than this node keeps.',
  },
  DISK_FULL: {
    status: 507,
    retryable: true,
    meaning: 'The disk of this node takes no writes; free some space.',
  },

  BAD_SETTING: {
    status: 500,
    retryable: false,
    meaning: 'A setting is wrong or contradicts another one.',
  },
  BAD_KEY: { status: 500, retryable: false, meaning: 'The mesh key cannot be used as it is.' },
  PORT_IN_USE: {
    status: 500,
    retryable: false,
    meaning: 'Another program listens on a port this node needs.',
  },
  DATA_LOCKED: {
    status: 500,
    retryable: false,
    meaning: 'Another running node uses this data folder.',
  },
  DATA_CORRUPT: { status: 500, retryable: false, meaning: 'The database file is damaged.' },
  DATA_NEWER: {
    status: 500,
    retryable: false,
    meaning: 'The database was written by a newer version.',
  },
  DATA_FAILED: {
    status: 500,
    retryable: true,
    meaning: 'The data folder or database cannot be read or written.',
  },
  NODE_UNREACHABLE: { status: 503, retryable: true, meaning: 'No node answers at this address.' },
} as const satisfies Record<string, { status: number; retryable: boolean; meaning: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** A failure at an edge. The message is a sentence for the user: the cause and the next step. */
export class MeshError extends Error {
  readonly code: ErrorCode;
  override readonly name = 'MeshError';

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return ERROR_CODES[this.code].status;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

/** The text of whatever was thrown, without its stack. */
export const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);
