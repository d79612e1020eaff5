/**
 * Finding nodes without settings: every node says by UDP, once a second, who it is and where its
 * link port is. That is a hint and nothing more. Nothing is executed on a heartbeat and none is
 * answered by UDP; all that can follow is a dial, and the link proves who is there.
 *
 * - All nodes of a mesh share one port. Several on one machine share it too (`reuseAddr`): each
 *   gets every broadcast and multicast, but a unicast reaches only one of them, which is enough to
 *   be noticed by one and so, by its member table, by all.
 * - What goes out: datagram.ts (sealed), targets.ts (where to). What comes in is checked from the
 *   cheapest test to the dearest, counted, and forgotten; freshness.ts drops repeats.
 * - dgram-as-promised binds, sends and closes. Datagrams are taken from the socket's `message`
 *   event: the package's own iterator loses all that come while nobody waits inside it.
 */
import type { RemoteInfo } from 'node:dgram';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import { MeshError, messageOf } from '../base/errors.ts';
import { type BootId, isSameBoot, type NodeId } from '../base/ids.ts';
import { asWall } from '../base/instant.ts';
import type { Discovery, DiscoveryReport } from '../node/ports.ts';
import { encodeHeartbeat, type Heartbeat, parseHeartbeat } from '../wire/heartbeats.ts';
import { type DropReason, type HeartbeatKey, Opener, Sealer } from './datagram.ts';
import { Freshness } from './freshness.ts';
import { Sender } from './sender.ts';
import { toPeerTarget } from './targets.ts';

export interface DiscoveryOptions {
  readonly key: HeartbeatKey;
  readonly node: NodeId;
  readonly boot: BootId;
  /** What the next heartbeat says. While its link port is 0, none is sent. */
  readonly announce: () => Announcement;
  /** The same for the whole mesh. */
  readonly port: number;
  readonly intervalMs: number;
  /** Known nodes: in a mesh of more than 100 all beat more slowly, so that the traffic stays. */
  readonly nodeCount?: () => number;
  /** `host` or `host:port`: get heartbeats though no broadcast reaches them. */
  readonly peers?: readonly string[];
  /** False: only `peers` get heartbeats. */
  readonly isBroadcasting?: boolean;
}

export type Announcement = Pick<Heartbeat, 'linkPort' | 'status' | 'address' | 'name' | 'version'>;

type Hint = { node: NodeId; boot: BootId; host: string; port: number };

/** @see Discovery for what each function promises */
export const createDiscovery = (options: DiscoveryOptions): Discovery => new UdpDiscovery(options);

const JITTER = 0.1;
/** Each node hears so many heartbeats a second at most. */
const MAX_BEATS_PER_SECOND = 100;
const MAX_OTHER_MESHES = 32;

class UdpDiscovery implements Discovery {
  private readonly options: DiscoveryOptions;
  private readonly sealer: Sealer;
  private readonly opener: Opener;
  private readonly freshness = new Freshness();
  private readonly dropped: Record<string, number> = {};
  private readonly otherMeshes = new Map<string, number>();
  private ownHeard = 0;
  private heard = 0;
  private onHint: (hint: Hint) => void = () => {};
  private socket: SocketAsPromised | undefined;
  private sender: Sender | undefined;
  private timer: NodeJS.Timeout | undefined;
  private starting: Promise<void> | undefined;
  private stopping: Promise<void> | undefined;

  constructor(options: DiscoveryOptions) {
    this.options = options;
    this.sealer = new Sealer(options.key);
    this.opener = new Opener(options.key);
  }

  // -------------------------------------------------------------- lifecycle

  start(onHint: (hint: Hint) => void): Promise<void> {
    this.onHint = onHint;
    this.starting ??= this.open();
    return this.starting;
  }

  stop(): Promise<void> {
    this.stopping ??= this.close();
    return this.stopping;
  }

  private async open(): Promise<void> {
    const { port, peers = [], isBroadcasting = true } = this.options;
    const socket = DgramAsPromised.createSocket({ type: 'udp4', reuseAddr: true });
    try {
      await socket.bind(port);
    } catch (cause) {
      await socket.close();
      throw toBindFailure(cause, port);
    }
    if (this.stopping) {
      await socket.close();
      return;
    }
    this.socket = socket;
    const targets = peers.map((peer) => toPeerTarget(peer, port));
    this.sender = new Sender({ socket, port, isBroadcasting, peers: targets });
    socket.socket.on('message', (bytes, from) => this.onDatagram(bytes, from));
    this.beat();
  }

  private async close(): Promise<void> {
    await this.starting?.catch(() => undefined);
    clearTimeout(this.timer);
    await this.sender?.idle();
    await this.socket?.close();
    this.socket = undefined;
  }

  // -------------------------------------------------------------- out

  private beat(): void {
    const { node, boot, announce } = this.options;
    const announcement = announce();
    if (announcement.linkPort !== 0) {
      const sentAt = asWall(Date.now());
      const payload = encodeHeartbeat({ node, boot, sentAt, ...announcement });
      const datagram = this.sealer.seal(payload);
      if (datagram) this.sender?.send(datagram);
      else this.drop('wrong size');
    }
    this.timer = setTimeout(() => this.beat(), this.nextBeatMs());
  }

  private nextBeatMs(): number {
    const { intervalMs, nodeCount } = this.options;
    const sharedMs = ((nodeCount?.() ?? 0) / MAX_BEATS_PER_SECOND) * 1000;
    const jitter = 1 + JITTER * (2 * Math.random() - 1);
    return Math.max(intervalMs, sharedMs) * jitter;
  }

  // -------------------------------------------------------------- in

  private onDatagram(bytes: Buffer, from: RemoteInfo): void {
    const opened = this.opener.open(bytes);
    switch (opened.kind) {
      case 'dropped':
        this.drop(opened.reason);
        return;
      case 'otherMesh':
        this.noteOtherMesh(opened.keyId);
        return;
      case 'opened': {
        const beat = parseHeartbeat(opened.payload);
        if (beat) this.onHeartbeat(beat, opened.sequence, from.address);
        else this.drop('malformed');
      }
    }
  }

  private onHeartbeat(beat: Heartbeat, sequence: number, host: string): void {
    const { node, boot } = beat;
    const isSelf = node === this.options.node;
    if (isSelf && isSameBoot(boot, this.options.boot)) {
      this.ownHeard += 1;
      return;
    }
    // An own earlier life that somebody recorded is nothing; another life of the same counter or
    // a later one is a copy of this node, and the core is to know.
    if (isSelf && boot.counter < this.options.boot.counter) {
      this.drop('repeated or old');
      return;
    }
    const freshness = this.freshness.note(node, boot, sequence);
    if (freshness === 'stale') this.drop('repeated or old');
    else if (freshness === 'twin') this.drop('copied identity');
    else {
      this.heard += 1;
      this.onHint({ node, boot, host, port: beat.linkPort });
    }
  }

  private drop(reason: DropReason): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }

  private noteOtherMesh(keyId: string): void {
    const before = this.otherMeshes.get(keyId);
    if (before === undefined && this.otherMeshes.size >= MAX_OTHER_MESHES) return;
    this.otherMeshes.set(keyId, (before ?? 0) + 1);
  }

  report(): DiscoveryReport {
    return {
      port: this.options.port,
      targets: this.sender?.report() ?? [],
      ownHeard: this.ownHeard,
      heard: this.heard,
      dropped: { ...this.dropped },
      otherMeshes: Object.fromEntries(this.otherMeshes),
    };
  }
}

function toBindFailure(cause: unknown, port: number): MeshError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : '';
  if (code === 'EADDRINUSE') {
    const sentence = `Another program holds UDP port ${port} for itself. Stop it, or give all nodes of the mesh another port with DISCOVERY_PORT (--discovery-port).`;
    return new MeshError('PORT_IN_USE', sentence, { cause });
  }
  const sentence = `UDP port ${port} cannot be opened (${messageOf(cause)}). Choose another one with DISCOVERY_PORT (--discovery-port).`;
  return new MeshError('BAD_SETTING', sentence, { cause });
}
