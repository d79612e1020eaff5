/**
 * `fetch` for nodes whose certificate is issued by their mesh and not by an authority the system
 * trusts. The global fetch takes no such certificate without one more package, and trusting it for
 * the whole process would be too much; so requests go by node:https.
 */
import { request } from 'node:https';
import { Readable } from 'node:stream';

/** @param ca PEM text of the authority to trust, besides none */
export function httpsFetch(ca: string): typeof fetch {
  return (input, init = {}) =>
    new Promise((resolve, reject) => {
      const { method = 'GET', headers, body, signal } = init;
      const sent = request(String(input), {
        ca,
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
      sent.end(typeof body === 'string' ? body : undefined);
    });
}
