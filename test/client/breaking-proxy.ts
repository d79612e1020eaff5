/** A TCP proxy whose first connections break off after so many bytes of the answer. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class BreakingProxy {
  /** Connections made so far. */
  connections = 0;
  private readonly target: number;
  private readonly breaks: number[];
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  /** @param breaks for each connection in turn, after how many bytes it breaks; then none does */
  constructor(target: number, breaks: readonly number[]) {
    this.target = target;
    this.breaks = [...breaks];
    this.server = createServer((client) => this.onClient(client));
  }

  async start(): Promise<string> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  private onClient(client: Socket): void {
    this.connections += 1;
    const server = connect(this.target, '127.0.0.1');
    let left = this.breaks.shift() ?? Number.POSITIVE_INFINITY;
    for (const socket of [client, server]) {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        server.destroy();
      });
    }
    client.pipe(server);
    server.on('data', (chunk: Buffer) => {
      if (left <= 0) return;
      client.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left <= 0) client.destroySoon();
    });
  }
}
