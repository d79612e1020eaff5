/** Requests with any header and from any user, as no well-behaved client would send them. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { promisify } from 'node:util';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** Undefined when the body is no JSON. */
  readonly body: Record<string, unknown>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export async function ask(port: number, path: string, options: AskOptions = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body } = options;
  const isCounted = body !== undefined && headers['Transfer-Encoding'] === undefined;
  const length = !isCounted ? {} : { 'Content-Length': String(Buffer.byteLength(body)) };
  const sent = request({
    host: '127.0.0.1',
    port,
    path,
    method,
    headers: { ...length, ...headers },
    agent: false,
  });
  sent.end(body);
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return { status: answer.statusCode ?? 0, headers: answer.headers, text, body: parse(text) };
}

export const post = (port: number, path: string, value: unknown, headers = {}): Promise<Answer> =>
  ask(port, path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: typeof value === 'string' ? value : JSON.stringify(value),
  });

/** Sends the text as it is; settles with all that comes back until the other side closes. */
export async function sendRaw(port: number, text: string): Promise<string> {
  const socket = await open(port);
  socket.write(text);
  return untilClosed(socket);
}

export async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

export async function untilClosed(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  // A reset is one way to be closed.
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

const run = promisify(execFile);

/** Runs a script as another user; settles with what it prints. Needs root. */
export async function runAs(
  uid: number,
  script: string,
  args: readonly string[] = [],
): Promise<string> {
  const options = { uid, gid: uid, cwd: '/', env: {} };
  const { stdout } = await run(process.execPath, ['-e', script, ...args], options);
  return stdout;
}

/** The same from a process of another user; status and body. Needs root. */
export async function askAs(
  uid: number,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; body: Record<string, unknown> }> {
  const script = `fetch(process.argv[1], { headers: JSON.parse(process.argv[2]) })
    .then(async (answer) => console.log(JSON.stringify({ status: answer.status, body: await answer.json() })))`;
  const stdout = await runAs(uid, script, [url, JSON.stringify(headers)]);
  return JSON.parse(stdout);
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
