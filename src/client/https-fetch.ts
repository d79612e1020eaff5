/**
 * `fetch` for nodes that the global one cannot ask: their certificate is issued by their mesh and
 * not by an authority the system trusts, or they are behind a socket file. The global fetch takes
 * neither without one more package, and trusting such a certificate for the whole process would be
 * too much; so requests go by node:http and node:https.
 */
import type { request as httpRequest } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import { Readable } from 'node:stream';

/** @param ca PEM text of the authority to trust, besides none */
export const httpsFetch = (ca: string): typeof fetch => fetchBy(request, { ca });

/** @param settings of each request, as `socketPath` */
export function fetchBy(
  ask: typeof request | typeof httpRequest,
  settings: RequestOptions,
): typeof fetch {
  return (input, init = {}) =>
    new Promise((resolve, reject) => {
      const { method = 'GET', headers, body, signal } = init;
      const sent = ask(String(input), {
        ...settings,
        method,
        headers: Object.fromEntries(new Headers(headers)),
        ...(signal && { signal }),
      });
      sent.on('error', reject);
      sent.on('response', (answer) => {
        const fields = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
        const status = answer.statusCode ?? 500;
        const isEmpty = status === 204 || status === 304 || method === 'HEAD';
        const stream = isEmpty ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>);
        resolve(new Response(stream, { status, headers: Object.fromEntries(fields) }));
      });
      sent.end(typeof body === 'string' || body instanceof Uint8Array ? body : undefined);
    });
}
