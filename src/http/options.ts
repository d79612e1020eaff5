/** What the REST API of a node needs beside the node. */
import type { Role } from '../api/api.ts';
import type { WorkerDesk } from '../node/worker-desk.ts';
import type { Policy } from '../policy/policy.ts';

export interface HttpOptions {
  /** Address to listen on. Any but a loopback one needs `tls`, and a token from everybody. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** More host names under which this node may be asked, beside its own. */
  readonly names: readonly string[];
  /** PEM texts. Given: the API is served by HTTPS only. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly tokens: Readonly<Record<Role, string>>;
  /** What jobs are taken here. */
  readonly policy: Policy;
  /** Timeout of a job that names none. */
  readonly defaultTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly bodyLimitBytes: number;
  /** For an array of jobs. */
  readonly bulkBodyLimitBytes: number;
  /** A fault of the program, for the log; the client is told no more than that there was one. */
  readonly onFault: (fault: unknown, request: string) => void;
  /** Where workers outside the mesh ask for work; undefined: this node has none. */
  readonly workers?: WorkerDesk | undefined;
  readonly limits?: Partial<HttpLimits> | undefined;
}

export interface HttpLimits {
  /** From the opening of a connection, or the end of the answer before, to the last header. */
  readonly headersTimeoutMs: number;
  /** The same, to the last byte of the body. */
  readonly requestTimeoutMs: number;
  readonly maxHeaderBytes: number;
  /** More are closed as they come. */
  readonly maxConnections: number;
  /** Outputs and job waits held open at once; more are answered 503. */
  readonly maxHeld: number;
  /** Streams of events open at once; more are answered 503. */
  readonly maxFollowers: number;
  /** How often a stream of events that has nothing to tell says that it is there. */
  readonly heartbeatMs: number;
}

export const DEFAULT_LIMITS: HttpLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  maxHeaderBytes: 16 * 1024,
  maxConnections: 8192,
  maxHeld: 512,
  maxFollowers: 4096,
  heartbeatMs: 15_000,
};
