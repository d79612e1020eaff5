/**
 * The limit for bytes between two machines that trust each other: TLS 1.3 from a file of one
 * process to a file of another, with one fsync at the end.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, statSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { connect } from 'node:tls';
import { createMeshCa } from '../../../src/links/mesh-ca.ts';
import { openMeshKey } from '../../../src/links/mesh-key.ts';
import { stop } from './server.ts';

const SERVE = `
  const [path] = process.argv.slice(1);
  const { createServer } = require('node:tls');
  const { createReadStream } = require('node:fs');
  const server = createServer({ cert: process.env.CERT, key: process.env.KEY }, (socket) => {
    socket.on('error', () => {});
    createReadStream(path, { highWaterMark: 256 * 1024 }).pipe(socket);
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

export interface TlsSource {
  copyTo(target: string): Promise<void>;
  close(): Promise<void>;
}

export async function serveByTls(path: string): Promise<TlsSource> {
  const { certPem, keyPem } = createMeshCa(openMeshKey()).issueServerCertificate({
    hosts: ['127.0.0.1'],
  });
  const child = spawn(process.execPath, ['-e', SERVE, path], {
    env: { CERT: certPem, KEY: keyPem },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = await once(child.stdout, 'data');
  return {
    copyTo: async (target) => {
      const socket = connect({
        port: Number(port),
        host: '127.0.0.1',
        rejectUnauthorized: false,
      });
      await pipeline(socket, createWriteStream(target, { flush: true }));
      if (statSync(target).size !== statSync(path).size)
        throw new Error('something else was copied');
    },
    close: () => stop(child, 'SIGKILL'),
  };
}
