/** A registry with one image, as far as an engine asks it to pull: manifest, config, one layer. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const digestOf = (bytes: Buffer): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';

export interface Registry {
  /** Its image, with a tag. */
  readonly image: string;
  /** Settles when the layer is asked for. */
  readonly asked: Promise<void>;
  /** Until then the layer is not sent. */
  release(): void;
  stop(): void;
}

export async function startRegistry(tar: string): Promise<Registry> {
  const layer = readFileSync(tar);
  const rootfs = { type: 'layers', diff_ids: [digestOf(layer)] };
  const about = {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/echo', 'own'] },
    rootfs,
  };
  const config = Buffer.from(JSON.stringify(about));
  const part = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    size: bytes.length,
    digest: digestOf(bytes),
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: part('application/vnd.docker.container.image.v1+json', config),
      layers: [part('application/vnd.docker.image.rootfs.diff.tar', layer)],
    }),
  );
  const asked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const server = createServer(async ({ url = '' }, response) => {
    const type = { 'content-type': MANIFEST, 'docker-content-digest': digestOf(manifest) };
    if (url === '/v2/') response.end('{}');
    else if (/^\/v2\/probe\/manifests\/(1|sha256:)/.test(url))
      response.writeHead(200, { ...type, 'content-length': manifest.length }).end(manifest);
    else if (url.endsWith(digestOf(config))) response.end(config);
    else if (url.endsWith(digestOf(layer))) {
      asked.resolve();
      await released.promise;
      response.end(layer);
    } else {
      const errors = [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }];
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ errors }));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    image: `127.0.0.1:${port}/probe:1`,
    asked: asked.promise,
    release: released.resolve,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
