/**
 * Who may do what. On a loopback address the user who runs the node needs no token: whoever can
 * send as that user could as well read the key file. Everybody else shows a token of the role that
 * the request needs. A token that is sent decides, also for the same user, so that its role can
 * be tried out.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { ROLES, type Role } from '../api/api.ts';
import { MeshError } from '../base/errors.ts';
import { ConnectionUsers } from './connection-user.ts';
import { FailureThrottle, sourceOf } from './failure-throttle.ts';
import { isLoopback, isLoopbackHost } from './loopback.ts';
import type { HttpOptions } from './options.ts';

const TOKEN_NEEDED =
  'A token is needed: only the user who runs this node may ask without one, from the same machine. ' +
  'Print one with `mesh token` and send it as Authorization: Bearer TOKEN.';
const TOKEN_WRONG =
  'The token is not one of this mesh. Print the right one with `mesh token`, as the user who runs a node.';

export class Access {
  private readonly users = new ConnectionUsers();
  private readonly throttle = new FailureThrottle(() => performance.now());
  private readonly digests: readonly { readonly role: Role; readonly digest: Buffer }[];
  private readonly trustedUid: number | undefined;

  constructor(options: Pick<HttpOptions, 'host' | 'tls' | 'tokens'>) {
    this.digests = ROLES.map((role) => ({ role, digest: digestOf(options.tokens[role]) }));
    const isLocal = isLoopbackHost(options.host) && options.tls === undefined;
    this.trustedUid = isLocal ? process.geteuid?.() : undefined;
  }

  /** @throws MeshError UNAUTHORIZED, TOO_MANY_FAILURES */
  async roleOf(incoming: IncomingMessage): Promise<Role> {
    const sent = incoming.headers.authorization;
    if (sent !== undefined) return this.byToken(sent, incoming);
    if (await this.isSameUser(incoming)) return 'admin';
    throw new MeshError('UNAUTHORIZED', TOKEN_NEEDED);
  }

  private async isSameUser({ socket, headers }: IncomingMessage): Promise<boolean> {
    if (this.trustedUid === undefined) return false;
    // A proxy of this user's speaks for people who may be anywhere.
    if (headers.forwarded ?? headers['x-forwarded-for'] ?? headers.via) return false;
    return (await this.users.of(socket)) === this.trustedUid;
  }

  private async byToken(header: string, { socket }: IncomingMessage): Promise<Role> {
    const source = await this.source(socket);
    if (this.throttle.isBlocked(source)) {
      throw new MeshError(
        'TOO_MANY_FAILURES',
        'Too many wrong tokens came from this address. Wait a little.',
      );
    }
    const role = this.match(header.replace(/^Bearer\s+/i, '').trim());
    if (role !== undefined) return role;
    this.throttle.note(source);
    throw new MeshError('UNAUTHORIZED', TOKEN_WRONG);
  }

  /** All are compared, whole, so that the time says nothing. */
  private match(token: string): Role | undefined {
    const digest = digestOf(token);
    return this.digests.filter((known) => timingSafeEqual(known.digest, digest)).at(-1)?.role;
  }

  /** Users of one machine share its address; one of them must not lock out the others. */
  private async source(socket: IncomingMessage['socket']): Promise<string> {
    const address = socket.remoteAddress ?? '';
    if (!isLoopback(address)) return sourceOf(address);
    return `${address} uid ${await this.users.of(socket)}`;
  }
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();
