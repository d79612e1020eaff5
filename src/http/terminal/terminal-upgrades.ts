/**
 * Requests that want to become a WebSocket: the same guard and the same access as for all others,
 * and only for a terminal. Browsers send their Origin with each, so no page of another site gets
 * here; whoever does has the role admin, as a terminal is everything the node's user may do.
 *
 * ws, since Node has only the client's side; it has no dependency and is what others use.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { includesRole, PATHS } from '../../api/api.ts';
import { MeshError } from '../../base/errors.ts';
import type { JobId } from '../../base/ids.ts';
import type { MeshService } from '../../node/service.ts';
import { terminalPlace } from '../../node/terminal-calls.ts';
import type { Access } from '../access.ts';
import type { Answers } from '../answers.ts';
import type { JobWatch } from '../job-watch.ts';
import { parseJobId, Query } from '../json-request.ts';
import type { RequestGuard } from '../request-guard.ts';
import { TerminalSocket } from './terminal-socket.ts';

export interface UpgradeParts {
  readonly service: MeshService;
  readonly guard: RequestGuard;
  readonly access: Access;
  readonly answers: Answers;
  readonly watch: JobWatch;
  readonly onFault: (fault: unknown, request: string) => void;
}

interface Wanted {
  readonly job: JobId;
  readonly session: string;
  readonly offset: number;
  readonly typed: number;
}

const MAX_TERMINALS = 64;
const MAX_MESSAGE_BYTES = 64 * 1024;
const SESSION = /^[A-Za-z0-9_-]{8,64}$/;
const PATH = new RegExp(`^${PATHS.terminal.replace(':id', '([^/?]+)')}(?:\\?|$)`);

export class TerminalUpgrades {
  private readonly parts: UpgradeParts;
  private readonly sockets = new Set<TerminalSocket>();
  private readonly server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES });

  constructor(parts: UpgradeParts) {
    this.parts = parts;
  }

  async onUpgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const onError = (): void => void socket.destroy();
    socket.on('error', onError);
    try {
      const wanted = await this.admit(incoming);
      socket.off('error', onError);
      this.server.handleUpgrade(incoming, socket, head, (client) => {
        const terminal = new TerminalSocket(client, { ...this.parts, ...wanted });
        this.sockets.add(terminal);
        client.once('close', () => this.sockets.delete(terminal));
        terminal.start();
      });
    } catch (failure) {
      if (!(failure instanceof MeshError)) this.parts.onFault(failure, 'WebSocket');
      const problem =
        failure instanceof MeshError
          ? failure
          : new MeshError('INTERNAL', 'The node made a mistake; its log says more.');
      const line = `${problem.status} ${STATUS_CODES[problem.status] ?? 'Error'}`;
      socket.end(this.parts.answers.rawProblem(problem, line));
    }
  }

  stop(): void {
    for (const socket of this.sockets) socket.stop();
    this.server.close();
  }

  /** @throws MeshError what is wrong with it */
  private async admit(incoming: IncomingMessage): Promise<Wanted> {
    const { guard, access, service } = this.parts;
    guard.check(incoming);
    const role = await access.roleOf(incoming);
    const url = incoming.url ?? '/';
    const [, id] = PATH.exec(url) ?? [];
    if (id === undefined || incoming.method !== 'GET')
      throw new MeshError('NOT_FOUND', `There is no WebSocket at ${url.slice(0, 200)}.`);
    if (!includesRole(role, 'admin'))
      throw new MeshError('FORBIDDEN', `A terminal needs a token of the role admin, not ${role}.`);
    if (this.sockets.size >= MAX_TERMINALS)
      throw new MeshError('BUSY', `${MAX_TERMINALS} terminals are open at this node already.`);
    const query = new Query(url, ['session', 'offset', 'typed']);
    const session = query.text('session') ?? '';
    if (!SESSION.test(session))
      throw new MeshError('BAD_REQUEST', 'session must be 8 to 64 letters, digits, - and _.');
    const range = { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 };
    const wanted = {
      job: parseJobId(decodeURIComponent(id)),
      session,
      offset: query.integer('offset', range),
      typed: query.integer('typed', range),
    };
    terminalPlace(await service.getJob(wanted.job));
    return wanted;
  }
}
