/** A REST API over a stand-in node, on a free loopback port, and ways to ask it. */

import { createHttpServer, type HttpServer } from '../../src/http/http.ts';
import type { HttpOptions } from '../../src/http/options.ts';
import { NO_POLICY } from '../../src/policy/policy.ts';
import { StandInService } from './stand-in-service.ts';

export const TOKENS = { read: 'mesh-read-x', submit: 'mesh-submit-x', admin: 'mesh-admin-x' };

export interface TestApi {
  readonly service: StandInService;
  readonly server: HttpServer;
  readonly url: string;
  readonly port: number;
  readonly faults: unknown[];
  stop(): Promise<void>;
}

export async function startApi(
  options: Partial<HttpOptions> = {},
  service = new StandInService(),
): Promise<TestApi> {
  const faults: unknown[] = [];
  const server = createHttpServer({
    service,
    host: '127.0.0.1',
    port: 0,
    names: ['mesh.example'],
    tokens: TOKENS,
    policy: NO_POLICY,
    defaultTimeoutMs: 300_000,
    drainTimeoutMs: 30_000,
    bodyLimitBytes: 256 * 1024,
    bulkBodyLimitBytes: 1024 * 1024,
    onFault: (fault) => void faults.push(fault),
    ...options,
  });
  const { url, port } = await server.start();
  const stop = async (): Promise<void> => {
    await server.stop();
    await service.close();
  };
  return { service, server, url, port, faults, stop };
}
