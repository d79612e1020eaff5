/**
 * The Docker Engine API over its Unix socket, as far as jobs need it; Podman serves the same. By
 * node:http: dockerode brings 66 packages and 34 MB of memory (ssh and gRPC among them) for what
 * is a dozen requests, and the one part that is no plain HTTP, the framing of output, is in
 * frames.ts.
 */
import { access, constants } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { messageOf } from '../../base/errors.ts';

/**
 * The API version this is written for. Engines drop old versions (29 takes none below 1.44) and an
 * older one does not know it: the nearest that the engine has is used.
 */
const API_VERSION = '1.44';
const ANSWER_DEADLINE_MS = 30_000;
/** A node does not wait longer for an engine as it starts. */
const LOOK_DEADLINE_MS = 3000;
const MAX_ANSWER_BYTES = 4 * 1024 ** 2;

export interface Call {
  readonly method?: 'GET' | 'POST' | 'DELETE';
  /** `/containers/create`, without a version. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** The engine has answered, and with a refusal. */
export class EngineRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export const isMissing = (thrown: unknown): boolean =>
  thrown instanceof EngineRefusal && thrown.status === 404;

const AWAY: readonly unknown[] = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'];

/** Nobody answers at its socket: other machines may have one that does. */
export const isAway = (thrown: unknown): boolean =>
  AWAY.includes((thrown as { code?: unknown } | undefined)?.code);

export class Engine {
  readonly socket: string;
  /** Of all paths. */
  prefix = '';

  private constructor(socket: string) {
    this.socket = socket;
  }

  /** @returns the engine and its version. Rejects with a reason that tells what to do. */
  static async connect(socket: string): Promise<{ engine: Engine; version: string }> {
    if (!socket.startsWith('/')) {
      throw new Error(`${socket} is no Unix socket, and engines are reached by nothing else`);
    }
    await access(socket, constants.R_OK | constants.W_OK).catch((thrown: { code?: string }) => {
      throw new Error(
        thrown.code === 'EACCES'
          ? `this user may not use ${socket}: add it to the group of that file (docker)`
          : `there is no ${socket}: start Docker or Podman, or name its socket with --docker-socket`,
      );
    });
    const engine = new Engine(socket);
    const signal = AbortSignal.timeout(LOOK_DEADLINE_MS);
    const about = (await engine.call({ path: '/version', signal }).catch((thrown: unknown) => {
      throw new Error(`nobody answers at ${socket} (${messageOf(thrown)}): start the engine`);
    })) as { Version?: string; ApiVersion?: string; MinAPIVersion?: string };
    const { Version, ApiVersion = API_VERSION, MinAPIVersion = ApiVersion } = about;
    const newest = isOlder(ApiVersion, API_VERSION) ? ApiVersion : API_VERSION;
    engine.prefix = `/v${isOlder(newest, MinAPIVersion) ? MinAPIVersion : newest}`;
    return { engine, version: Version ?? 'unknown' };
  }

  /** Settles with the JSON of the answer; undefined where there is none. */
  async call(call: Call): Promise<unknown> {
    return parse(await this.read(call));
  }

  /** Settles with the answer as a text, of at most 4 MiB. */
  async read(call: Call): Promise<string> {
    const late = AbortSignal.timeout(ANSWER_DEADLINE_MS);
    const signal = call.signal ? AbortSignal.any([call.signal, late]) : late;
    return readText(await this.open({ ...call, signal }));
  }

  /** For answers that take as long as a container, or never end. Its body has not been read. */
  async open(call: Call): Promise<IncomingMessage> {
    const answer = await this.send(call);
    const { statusCode = 0 } = answer;
    if (statusCode < 400) return answer;
    const body = parse(await readText(answer));
    const said = (body as { message?: string } | undefined)?.message ?? `status ${statusCode}`;
    throw new EngineRefusal(statusCode, said.trim());
  }

  private send({ method = 'GET', path, query = {}, body, signal }: Call): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      host: 'docker',
      ...(text !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      }),
    };
    const search = new URLSearchParams(query).toString();
    const whole = `${this.prefix}${path}${search === '' ? '' : `?${search}`}`;
    const to = { socketPath: this.socket, path: whole, method, headers, agent: false } as const;
    return new Promise((resolve, reject) => {
      request({ ...to, ...(signal && { signal }) }, resolve)
        .once('error', reject)
        .end(text);
    });
  }
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error('the engine answered with more than 4 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Of `1.41` and `1.9`. */
function isOlder(a: string, b: string): boolean {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number);
  const [majorB = 0, minorB = 0] = b.split('.').map(Number);
  return majorA < majorB || (majorA === majorB && minorA < minorB);
}
