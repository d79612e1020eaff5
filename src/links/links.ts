/**
 * Links to peers: authenticated, ordered, one to each peer. TLS 1.3 over TCP with certificates of
 * the mesh on both sides (mesh-ca.ts), the handshake of handshake.ts, frames of src/wire. Measured
 * against gRPC streams (4 × slower), HTTP (9 ×) and WebSocket (2 ×).
 *
 * **Who is there** is the hash of the key in the peer's certificate. No name or address counts.
 *
 * **One link to a peer.** When two nodes dial each other at once there are two connections, and
 * both must keep the same one. The node with the lower id decides: it welcomes one connection; the
 * other node takes whatever was welcomed last. So the decision falls at one place, and no pair of
 * rules can disagree. While both are young, the connection that the lower node dialled and that
 * answered is kept, and another one is refused as a duplicate. A peer that dials again later has
 * lost its old connection, whether this side has noticed or not, so then the new one is taken.
 *
 * **One life of a peer.** Its boot counter never falls, and two boots of one counter are two
 * machines with one data folder: both are refused by name, in both logs, the one that is linked
 * too, until one comes with a higher counter: nobody can tell which of them is the copy. A higher
 * boot replaces the old link. The end of the old is told before the beginning of the new.
 *
 * **Liveness** is not judged here: no keep-alive, no idle limit. A frozen process keeps its TCP
 * connections; only an answer of the application proves anything, and the core asks for those.
 */
import type { TLSSocket } from 'node:tls';
import { MeshError, messageOf } from '../base/errors.ts';
import { type BootId, isSameBoot, type NodeId } from '../base/ids.ts';
import type { Answer, Call } from '../core/calls.ts';
import { DiskAges, type DiskRefusal, type KnownDisk } from '../core/disk-ages.ts';
import type { NodeFacts } from '../core/facts.ts';
import type { Message } from '../core/messages.ts';
import type { LinkHandlers, Links } from '../node/ports.ts';
import { encodeMessages } from '../wire/wire.ts';
import { Candidate } from './candidate.ts';
import type { ConnectionEnd } from './connection.ts';
import { Endpoint, type Origin } from './endpoint.ts';
import { DUPLICATE, type Introduction } from './handshake.ts';
import { Link } from './link.ts';
import type { MeshCa } from './mesh-ca.ts';
import type { NodeIdentity } from './node-identity.ts';
import { type LinkNotice, Notices } from './notices.ts';

export interface LinksOptions {
  readonly ca: MeshCa;
  readonly identity: NodeIdentity;
  readonly boot: BootId;
  /** Told to each peer as they are at that time. */
  readonly facts: () => NodeFacts;
  /** Address to listen on; default: all of this machine. */
  readonly host?: string;
  /** 0, the default, takes any free one. */
  readonly port?: number;
  /** Commits of the own disk so far, told with each hello. */
  readonly commits?: () => number;
  /** What was seen of peers in earlier runs. */
  readonly knownDisks?: Iterable<KnownDisk>;
  /** A peer is not let in because of its disk. Told each time. */
  readonly onDiskRefused?: (refusal: DiskRefusal & { node: NodeId; boot: BootId }) => void;
  /** For the log. The same about the same peer is told once a minute at most. */
  readonly onNotice?: (notice: LinkNotice) => void;
}

/** Since the start. */
export interface LinksReport {
  readonly links: number;
  /** Connections that did not become links, by why; `malformed` counts links too. */
  readonly refused: Readonly<Record<string, number>>;
}

export type MeshLinks = Links & { report(): LinksReport };

/** @see Links for what each function promises */
export const createLinks = (options: LinksOptions): MeshLinks => new TlsLinks(options);

/** A second connection of the same life within this time is the other half of a double dial. */
const YOUNG_MS = 3000;

interface Dial {
  /** No answer yet, also not that of another connection of the same peer. */
  isConnecting: boolean;
}

interface DialFailure {
  readonly reason: string;
  readonly isRefused?: boolean;
}

class TlsLinks implements MeshLinks {
  private readonly self: NodeId;
  private readonly options: LinksOptions;
  private readonly endpoint: Endpoint;
  private readonly notices: Notices;
  private readonly links = new Map<NodeId, Link>();
  private readonly candidates = new Set<Candidate>();
  /** Those that have ended neither in a link nor in a failure yet. */
  private readonly dials = new Map<NodeId, Dial>();
  private readonly disks: DiskAges;
  private handlers: LinkHandlers | undefined;
  private isStopped = false;

  constructor(options: LinksOptions) {
    this.self = options.identity.node;
    this.options = options;
    this.disks = new DiskAges(options.knownDisks);
    this.notices = new Notices((notice) => options.onNotice?.(notice));
    this.endpoint = new Endpoint({
      ca: options.ca,
      identity: options.identity,
      host: options.host,
      port: options.port ?? 0,
      onConnection: (socket, origin) => this.onConnection(socket, origin),
      onRefused: (reason, address) => {
        this.notices.count('not of this mesh');
        this.notices.note({ level: 'info', text: `refused a connection: ${reason}`, address });
      },
    });
  }

  // -------------------------------------------------------------- lifecycle

  start(handlers: LinkHandlers): Promise<{ port: number }> {
    this.handlers = handlers;
    return this.endpoint.listen();
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    for (const candidate of [...this.candidates]) candidate.close(STOPPING);
    for (const link of [...this.links.values()]) link.close(STOPPING);
    await this.endpoint.close();
  }

  report(): LinksReport {
    return { links: this.links.size, refused: { ...this.notices.counts } };
  }

  // -------------------------------------------------------------- use

  dial(node: NodeId, host: string, port: number): void {
    if (this.isStopped || this.links.has(node) || this.dials.has(node)) return;
    this.dials.set(node, { isConnecting: true });
    if (node === this.self) {
      // Told later: nobody expects the answer inside the question.
      setImmediate(() => this.onDialEnded(node, { reason: 'this is the node itself' }));
      return;
    }
    this.endpoint.dial({ node, host, port }, (failure) => this.onDialEnded(node, failure));
  }

  send(to: NodeId, messages: readonly Message[]): void {
    const link = this.links.get(to);
    if (!link || messages.length === 0) return;
    const { frames, oversized } = encodeMessages(messages);
    for (const frame of frames) link.send(frame);
    if (oversized > 0) {
      this.notices.count('oversized');
      this.notices.note({ level: 'warn', text: 'a message was too large for a frame', node: to });
    }
  }

  call(
    to: NodeId,
    call: Call,
    options: { deadlineMs: number; signal?: AbortSignal },
  ): Promise<Answer> {
    const link = this.links.get(to);
    if (link) return link.questions.ask(call, options);
    const sentence = `There is no link to node ${to} now. Try again when it is back.`;
    return Promise.reject(new MeshError('NODE_UNREACHABLE', sentence));
  }

  hangUp(node: NodeId, reason: string): void {
    this.links.get(node)?.close(reason);
  }

  // -------------------------------------------------------------- candidates

  private onConnection(socket: TLSSocket, origin: Origin): void {
    const { boot, commits, facts } = this.options;
    const candidate: Candidate = new Candidate({
      socket,
      origin,
      self: this.self,
      age: { boot, commits: commits?.() },
      facts: facts(),
      isWanted: () => origin.kind === 'accepted' || !this.isCourted(candidate),
      admit: (peer) => this.refusalOf(candidate, peer),
      onUp: (peer) => this.onUp(candidate, peer),
      onEnded: (end) => this.onCandidateEnded(candidate, end),
    });
    this.candidates.add(candidate);
    const dial = this.dials.get(origin.node);
    if (dial && origin.kind === 'dialled') dial.isConnecting = false;
  }

  /** The peer is linked or about to be. */
  private isCourted(candidate: Candidate): boolean {
    return this.links.has(candidate.node) || this.rivalOf(candidate) !== undefined;
  }

  /** Another connection of the same peer on which it was welcomed. */
  private rivalOf(candidate: Candidate): Introduction | undefined {
    for (const other of this.candidates) {
      if (other !== candidate && other.node === candidate.node && other.peer) return other.peer;
    }
    return undefined;
  }

  /** @returns why the peer is refused, in words for both logs */
  private refusalOf(candidate: Candidate, peer: Introduction): string | undefined {
    if (peer.node === this.self) {
      return `the peer has the identity of ${this.self} itself: its data folder was copied`;
    }
    const refusal = this.disks.refusalOf(peer.node, peer);
    if (refusal) {
      this.onDiskRefused(peer, refusal);
      return refusal.text;
    }
    return this.self < peer.node && this.isDuplicate(candidate, peer) ? DUPLICATE : undefined;
  }

  private onDiskRefused({ node, boot }: Introduction, refusal: DiskRefusal): void {
    if (refusal.kind === 'cloned') {
      this.disks.noteCloned(node, boot.counter);
      this.links.get(node)?.close(refusal.text);
    }
    this.options.onDiskRefused?.({ ...refusal, node, boot });
  }

  private isDuplicate(candidate: Candidate, peer: Introduction): boolean {
    const link = this.links.get(peer.node);
    if (link && isSameBoot(link.peer.boot, peer.boot)) return link.ageMs < YOUNG_MS;
    const rival = this.rivalOf(candidate);
    return rival !== undefined && isSameBoot(rival.boot, peer.boot);
  }

  private onUp(candidate: Candidate, peer: Introduction): void {
    const { node, boot, commits, facts } = peer;
    this.candidates.delete(candidate);
    this.dials.delete(node);
    const { handlers } = this;
    if (!handlers || this.isStopped) {
      candidate.close(STOPPING);
      return;
    }
    const old = this.links.get(node);
    old?.close(isSameBoot(old.peer.boot, boot) ? REPLACED : RESTARTED);
    this.disks.note(node, peer);
    const link = new Link({
      peer,
      connection: candidate.connection,
      handlers,
      onMalformed: () => this.notices.count('malformed'),
      onFault: (thrown) => this.onFault(node, thrown),
      onDown: (reason) => {
        this.links.delete(node);
        handlers.onDown({ node, boot, reason });
      },
    });
    this.links.set(node, link);
    candidate.handOver(link);
    handlers.onUp({ node, boot, commits, facts, host: candidate.origin.host });
  }

  private onCandidateEnded(candidate: Candidate, end: ConnectionEnd): void {
    const { node, origin } = candidate;
    this.candidates.delete(candidate);
    if (end.reason !== DUPLICATE && !this.isStopped) {
      this.notices.count(end.by === 'nobody' ? 'cut' : 'refused');
      const text = end.by === 'peer' ? `the peer refused: ${end.reason}` : `refused: ${end.reason}`;
      if (end.by !== 'nobody') {
        this.notices.note({ level: 'warn', text, node, address: origin.host });
      }
    }
    const isDialOpen = this.dials.get(node)?.isConnecting === true;
    if (!isDialOpen) this.onDialEnded(node, end);
  }

  /** Another connection of the same peer may still become the link; then the dial ends with it. */
  private onDialEnded(node: NodeId, failure: DialFailure): void {
    const dial = this.dials.get(node);
    if (!dial) return;
    dial.isConnecting = false;
    for (const candidate of this.candidates) if (candidate.node === node) return;
    this.dials.delete(node);
    const { reason, isRefused = false } = failure;
    if (!this.isStopped) this.handlers?.onDialFailed({ node, isRefused, reason });
  }

  private onFault(node: NodeId, thrown: unknown): void {
    const text = `a question was not answered: ${messageOf(thrown)}`;
    this.notices.count('fault');
    this.notices.note({ level: 'warn', text, node });
  }
}

const STOPPING = 'the node stops';
const REPLACED = 'replaced by a newer connection';
const RESTARTED = 'it was started again';
