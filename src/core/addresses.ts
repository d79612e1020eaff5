/**
 * Where nodes can be dialled, and when to try next. Of two nodes that hear of each other the one
 * with the lower id dials; the other waits a little longer and dials only if nothing came, so a
 * pair usually makes one link and still finds each other when only one direction is heard.
 */
import type { BootId, NodeId } from '../base/ids.ts';
import { afterMono, type MonoMs, NEVER } from '../base/instant.ts';
import type { MemberEntry } from './messages.ts';
import type { Outgoing } from './outgoing.ts';

/** The node with the higher id leaves the other so much time to dial. */
const POLITE_MS = 1200;
const FIRST_RETRY_MS = 500;
const URGENT_RETRY_MS = 200;
const MAX_RETRY_MS = 30_000;
/** A node that nobody has seen for a day is not dialled any more. */
const GIVE_UP_MS = 24 * 3_600_000;
const MAX_ADDRESSES = 4096;
const MAX_HOSTS = 8;

interface Address {
  readonly node: NodeId;
  hosts: string[];
  port: number;
  nextDialAt: MonoMs;
  isDialing: boolean;
  failures: number;
  /** Last time somebody said that it lives. */
  hintedAt: MonoMs;
}

export class AddressBook {
  private readonly out: Outgoing;
  private readonly addresses = new Map<NodeId, Address>();

  constructor(out: Outgoing) {
    this.out = out;
  }

  onHint(hint: { node: NodeId; boot: BootId; host: string; port: number }): void {
    this.note(hint.node, [hint.host], hint.port);
  }

  onEntry(entry: MemberEntry): void {
    this.note(entry.node, entry.hosts, entry.linkPort);
  }

  /** The address it is linked by comes first at the next dial. */
  onLinkUp(link: {
    node: NodeId;
    host: string;
    facts: { hosts: readonly string[]; linkPort: number };
  }): void {
    const address = this.entry(link.node, link.facts.linkPort);
    if (!address) return;
    address.hosts = unique([link.host, ...link.facts.hosts]);
    address.port = link.facts.linkPort;
    address.failures = 0;
    address.isDialing = false;
    address.nextDialAt = NEVER;
    address.hintedAt = this.out.now.mono;
  }

  onLinkDown(node: NodeId): void {
    const address = this.addresses.get(node);
    if (address && !address.isDialing) address.nextDialAt = this.out.now.mono;
  }

  onDead(node: NodeId): void {
    const address = this.addresses.get(node);
    if (address) address.nextDialAt = afterMono(this.out.now.mono, MAX_RETRY_MS);
  }

  onDialFailed(node: NodeId, { isUrgent }: { isUrgent: boolean }): void {
    const address = this.addresses.get(node);
    if (!address) return;
    address.isDialing = false;
    const delayMs = isUrgent
      ? URGENT_RETRY_MS
      : Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** address.failures);
    address.failures = Math.min(16, address.failures + 1);
    address.nextDialAt = afterMono(this.out.now.mono, delayMs);
    // Another of its addresses may be the one that can be reached from here.
    if (!isUrgent) address.hosts.push(...address.hosts.splice(0, 1));
  }

  /** Somebody may be there who was not reached yet, nor found to be away. */
  isExpecting(isLinked: (node: NodeId) => boolean): boolean {
    for (const { node, failures } of this.addresses.values())
      if (failures === 0 && !isLinked(node)) return true;
    return false;
  }

  forget(node: NodeId): void {
    this.addresses.delete(node);
  }

  onTick(isLinked: (node: NodeId) => boolean): void {
    const { mono } = this.out.now;
    for (const address of this.addresses.values()) {
      if (address.isDialing || address.nextDialAt > mono || isLinked(address.node)) continue;
      if (mono - address.hintedAt > GIVE_UP_MS) {
        this.addresses.delete(address.node);
        continue;
      }
      const [host] = address.hosts;
      if (host === undefined) continue;
      address.isDialing = true;
      this.out.emit({ kind: 'dial', node: address.node, host, port: address.port });
    }
  }

  private note(node: NodeId, hosts: readonly string[], port: number): void {
    const address = this.entry(node, port);
    if (!address) return;
    const { mono } = this.out.now;
    address.hosts = unique([...hosts, ...address.hosts]);
    // It was started again: that nobody was at the old port says nothing about the new one.
    if (address.port !== port) address.failures = 0;
    address.port = port;
    address.hintedAt = mono;
    const waitMs = this.out.self < node ? 0 : POLITE_MS;
    // A sign of life shortens the wait after failures, but does not take back politeness.
    const soonest = afterMono(mono, address.failures > 0 ? Math.max(waitMs, 1000) : waitMs);
    if (address.nextDialAt > soonest) address.nextDialAt = soonest;
  }

  private entry(node: NodeId, port: number): Address | undefined {
    const known = this.addresses.get(node);
    if (known || this.addresses.size >= MAX_ADDRESSES) return known;
    const { mono } = this.out.now;
    const address: Address = {
      node,
      hosts: [],
      port,
      nextDialAt: NEVER,
      isDialing: false,
      failures: 0,
      hintedAt: mono,
    };
    this.addresses.set(node, address);
    return address;
  }
}

const unique = (hosts: readonly string[]): string[] => [...new Set(hosts)].slice(0, MAX_HOSTS);
