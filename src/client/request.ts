/** One request to a node, and its answer or the error that it stands for. */
import { fromProblem } from '../api/problem.ts';
import { MeshError, messageOf } from '../base/errors.ts';

export interface ClientOptions {
  /** `http://127.0.0.1:3000` */
  readonly url: string;
  /** Not needed on the machine and as the user of the node. */
  readonly token?: string | undefined;
  /** In place of the global one, as `httpsFetch(ca)` for a node with a certificate of its mesh. */
  readonly fetch?: typeof fetch | undefined;
  /**
   * More nodes of the same mesh. What any of them can answer for (a job, its output, its cancel) is
   * asked of the next one when the one before does not answer; asked for at that moment.
   */
  readonly others?: (() => readonly Omit<ClientOptions, 'others'>[]) | undefined;
}

export interface RequestInit {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as they are, in place of `body`. */
  readonly bytes?: Uint8Array | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

export class Requests {
  private options: ClientOptions;
  private base: string;
  private readonly others: ClientOptions['others'];

  /** @throws MeshError BAD_REQUEST when the address is none */
  constructor(options: ClientOptions) {
    this.options = options;
    this.base = parseBase(options.url);
    this.others = options.others;
  }

  async json<Body>(path: string, init: RequestInit = {}): Promise<Body> {
    const response = await this.send(path, init);
    return (await readJson(response)) as Body;
  }

  async jsonAnywhere<Body>(path: string, init: RequestInit = {}): Promise<Body> {
    const response = await this.sendAnywhere(path, init);
    return (await readJson(response)) as Body;
  }

  /** The answer with its body unread. @throws MeshError of the problem; an AbortError as it is */
  async send(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await this.fetch(path, init);
    if (response.ok) return response;
    throw await errorOf(response, this.base);
  }

  /** For what every node can answer: the one that does is asked from then on. */
  async sendAnywhere(path: string, init: RequestInit = {}): Promise<Response> {
    try {
      return await this.send(path, init);
    } catch (failure) {
      if (!(failure instanceof MeshError) || failure.code !== 'NODE_UNREACHABLE') throw failure;
      for (const options of this.others?.() ?? []) {
        const other = new Requests(options);
        // What it says against it is of no use here: the first failure is the one to tell.
        const response = await other.send(path, init).catch(() => undefined);
        init.signal?.throwIfAborted();
        if (!response) continue;
        this.options = options;
        this.base = other.base;
        return response;
      }
      throw failure;
    }
  }

  /** Whatever the status is. */
  async fetch(path: string, init: RequestInit): Promise<Response> {
    const { method = 'GET', body, bytes, headers, signal } = init;
    const { token, fetch: ask = globalThis.fetch } = this.options;
    try {
      return await ask(this.base + path, {
        method,
        redirect: 'error',
        headers: {
          ...headers,
          ...(body !== undefined && { 'Content-Type': 'application/json' }),
          ...(bytes && { 'Content-Type': 'application/octet-stream' }),
          ...(token !== undefined && { Authorization: `Bearer ${token}` }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...(bytes && { body: bytes as Uint8Array<ArrayBuffer> }),
        ...(signal && { signal }),
      });
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw unreachable(this.base, cause);
    }
  }
}

/** A path with its query; parameters that are undefined are left out. */
export function withQuery(
  path: string,
  parameters: Readonly<Record<string, string | number | boolean | undefined>>,
): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return given.length > 0 ? `${path}?${query}` : path;
}

export const unreachable = (base: string, cause: unknown): MeshError =>
  new MeshError('NODE_UNREACHABLE', sentenceOf(base, reasonOf(cause)), { cause });

function sentenceOf(base: string, { code, text }: Reason): string {
  if (STRANGE_CERTIFICATE.has(code))
    return `The certificate of ${base} is of no authority that is known here (${text}). If it is a node: \`mesh token --ca\` on its machine prints that authority's certificate, and MESH_API_CA names the file here that holds it.`;
  const isCutOff = code === 'UND_ERR_SOCKET' || code === 'ECONNRESET';
  if (isCutOff && base.startsWith('http:'))
    return `No node answers at ${base} (${text}). A node that other machines may ask wants https://.`;
  return `No node answers at ${base} (${text}).`;
}

const STRANGE_CERTIFICATE: ReadonlySet<string> = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

function parseBase(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed && /^https?:$/.test(parsed.protocol)) return parsed.href.replace(/\/+$/, '');
  throw new MeshError(
    'BAD_REQUEST',
    `${JSON.stringify(url)} is no address of a node: it must look like http://127.0.0.1:3000.`,
  );
}

async function errorOf(response: Response, base: string): Promise<MeshError> {
  const body = await response.json().catch(() => undefined);
  const problem = fromProblem(body);
  if (problem) return problem;
  const sentence = `${base} answered ${response.status} and not as a node of the mesh does. Is it the right address?`;
  return new MeshError('NODE_UNREACHABLE', sentence);
}

async function readJson(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (cause) {
    throw new MeshError('NODE_UNREACHABLE', 'The answer of the node broke off.', { cause });
  }
}

interface Reason {
  /** Of the system or of the library; empty: none was given. */
  readonly code: string;
  readonly text: string;
}

/** fetch says only "fetch failed"; its cause knows why. */
function reasonOf(failure: unknown): Reason {
  const cause = failure instanceof Error ? failure.cause : undefined;
  const inner = (cause instanceof AggregateError ? cause.errors[0] : cause) ?? failure;
  const { code } = inner as { code?: unknown };
  return { code: typeof code === 'string' ? code : '', text: messageOf(inner) };
}
