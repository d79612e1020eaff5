/**
 * Sends one datagram to all targets. What fails for one target (no route, interface down, unknown
 * name) is counted there and concerns no other.
 */
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { SocketAsPromised } from 'dgram-as-promised';
import { messageOf } from '../base/errors.ts';
import { broadcastTargets, MULTICAST_GROUP, type Target, targetText } from './targets.ts';

export interface SenderParts {
  readonly socket: SocketAsPromised;
  readonly port: number;
  readonly isBroadcasting: boolean;
  readonly peers: readonly Target[];
}

interface TargetState {
  readonly target: Target;
  sent: number;
  lastError: string | undefined;
  /** A name server may take its time: nothing is piled up behind it. */
  isBusy: boolean;
}

const INTERFACES_INTERVAL_MS = 10_000;

export class Sender {
  private readonly parts: SenderParts;
  private targets = new Map<string, TargetState>();
  private memberships = new Set<string>();
  private refreshedAt = Number.NEGATIVE_INFINITY;
  private multicast: Promise<void> = Promise.resolve();
  private isMulticasting = false;

  constructor(parts: SenderParts) {
    this.parts = parts;
    parts.socket.setBroadcast(true);
  }

  send(datagram: Buffer): void {
    const now = performance.now();
    if (now - this.refreshedAt >= INTERFACES_INTERVAL_MS) {
      this.refreshedAt = now;
      this.refresh();
    }
    const multicast: TargetState[] = [];
    for (const state of this.targets.values()) {
      if (state.target.via !== undefined) multicast.push(state);
      else if (!state.isBusy) void this.sendTo(state, datagram);
    }
    if (!this.isMulticasting) this.multicast = this.sendMulticast(multicast, datagram);
  }

  report(): { address: string; sent: number; lastError?: string }[] {
    return [...this.targets].map(([address, { sent, lastError }]) => ({
      address,
      sent,
      ...(lastError !== undefined && { lastError }),
    }));
  }

  /** Settles when nothing uses the socket any more. */
  async idle(): Promise<void> {
    await this.multicast;
  }

  /** Interfaces come and go. */
  private refresh(): void {
    const { port, peers, isBroadcasting } = this.parts;
    const wanted = [
      ...(isBroadcasting ? broadcastTargets(networkInterfaces(), port) : []),
      ...peers,
    ];
    const fresh = { sent: 0, lastError: undefined, isBusy: false };
    this.targets = new Map(
      wanted.map((target) => {
        const text = targetText(target);
        return [text, this.targets.get(text) ?? { target, ...fresh }];
      }),
    );
    this.joinGroup(wanted.flatMap(({ via }) => via ?? []));
  }

  private joinGroup(addresses: readonly string[]): void {
    // The kernel forgets the membership of an interface that has gone.
    this.memberships = new Set([...this.memberships].filter((known) => addresses.includes(known)));
    for (const address of addresses) {
      if (this.memberships.has(address)) continue;
      const state = this.targets.get(
        targetText({ host: MULTICAST_GROUP, port: this.parts.port, via: address }),
      );
      try {
        this.parts.socket.addMembership(MULTICAST_GROUP, address);
        this.memberships.add(address);
      } catch (failure) {
        if (state) state.lastError = messageOf(failure);
      }
    }
  }

  /** One after the other: which interface they leave by is a property of the socket. */
  private async sendMulticast(states: readonly TargetState[], datagram: Buffer): Promise<void> {
    this.isMulticasting = true;
    for (const state of states) {
      try {
        this.parts.socket.setMulticastInterface(state.target.via ?? '');
      } catch (failure) {
        state.lastError = messageOf(failure);
        continue;
      }
      await this.sendTo(state, datagram);
    }
    this.isMulticasting = false;
  }

  private async sendTo(state: TargetState, datagram: Buffer): Promise<void> {
    const { host, port } = state.target;
    if (isIPv6(host)) {
      state.lastError = 'heartbeats go by IPv4 only';
      return;
    }
    state.isBusy = true;
    try {
      await this.parts.socket.send(datagram, port, host);
      state.sent += 1;
      state.lastError = undefined;
    } catch (failure) {
      state.lastError = messageOf(failure);
    }
    state.isBusy = false;
  }
}
