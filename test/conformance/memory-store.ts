/**
 * A disk in memory, for the simulator: it outlives the store that is opened on it, as a real one
 * outlives a process, and can be told to take no writes. It is trusted as far as it passes the
 * same suite as the real one.
 */
import { MeshError } from '../../src/base/errors.ts';
import { type BootId, compareText, type JobId, type NodeId } from '../../src/base/ids.ts';
import type { Random } from '../../src/base/random.ts';
import type { RecordQuery } from '../../src/core/calls.ts';
import type { Write } from '../../src/core/effects.ts';
import type { OutboxRow, StartedRow, StoredState } from '../../src/core/inputs.ts';
import { recordedStatus } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import { attemptKey, compareEpochs } from '../../src/core/record.ts';
import type { PeerRow, RememberedPeer, Store } from '../../src/node/ports.ts';

interface Tables {
  readonly records: Map<JobId, JobRecord>;
  readonly started: Map<string, StartedRow>;
  readonly outbox: Map<string, OutboxRow>;
}

export class MemoryDisk {
  /** Commits fail with DISK_FULL while this is set. */
  isFull = false;
  boots = 0;
  commits = 0;
  readonly tables: Tables = { records: new Map(), started: new Map(), outbox: new Map() };
  readonly peers = new Map<NodeId, PeerRow>();

  /** A new life of the node. The store of the last one must not be used any more. */
  open(random: Random): { store: Store; boot: BootId } {
    this.boots += 1;
    const digits = Array.from({ length: 16 }, () => Math.floor(random() * 16).toString(16));
    return { store: new MemoryStore(this), boot: { counter: this.boots, salt: digits.join('') } };
  }
}

class MemoryStore implements Store {
  private readonly disk: MemoryDisk;

  constructor(disk: MemoryDisk) {
    this.disk = disk;
  }

  restore(): StoredState {
    const { records, started, outbox } = this.disk.tables;
    return {
      records: [...records.values()].filter(({ job }) => job.state.tag !== 'final'),
      started: [...started.values()],
      outbox: [...outbox.values()],
    };
  }

  commit(writes: readonly Write[]): void {
    if (writes.length === 0) return;
    if (this.disk.isFull) throw new MeshError('DISK_FULL', 'The disk in memory takes no writes.');
    const undo: (() => void)[] = [];
    try {
      for (const write of writes) this.apply(write, undo);
    } catch (thrown) {
      for (const step of undo.reverse()) step();
      throw thrown;
    }
    this.disk.commits += 1;
  }

  readRecord(job: JobId): JobRecord | undefined {
    return this.disk.tables.records.get(job);
  }

  listRecords(query: RecordQuery): JobRecord[] {
    return [...this.disk.tables.records.values()]
      .filter((record) => isWanted(record, query))
      .sort(newestFirst)
      .slice(0, query.limit);
  }

  countByStatus(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { job } of this.disk.tables.records.values()) {
      const status = recordedStatus(job.state);
      counts[status] = (counts[status] ?? 0) + 1;
    }
    return counts;
  }

  readPeers(): RememberedPeer[] {
    return [...this.disk.peers.values()]
      .sort((a, b) => b.lastHeartbeat - a.lastHeartbeat || compareText(a.facts.node, b.facts.node))
      .map(({ facts, boot }) => ({
        node: facts.node,
        boot,
        hosts: facts.hosts,
        linkPort: facts.linkPort,
      }))
      .filter((peer) => peer.hosts.length > 0);
  }

  writePeer(peer: PeerRow): void {
    if (!this.disk.isFull) this.disk.peers.set(peer.facts.node, peer);
  }

  close(): void {}

  private apply(write: Write, undo: (() => void)[]): void {
    const { records, started, outbox } = this.disk.tables;
    switch (write.kind) {
      case 'record': {
        refuseOlder(write, records.get(write.header.job));
        setRow(records, write.header.job, { header: write.header, job: write.job }, undo);
        return;
      }
      case 'started': {
        const { kind: _, ...row } = write;
        addRow(started, attemptKey(write.job, write.fence), { ...row, isOver: false }, undo);
        return;
      }
      case 'outcome': {
        const { kind: _, ...row } = write;
        addRow(outbox, attemptKey(write.job, write.outcome.fence), row, undo);
        return;
      }
      case 'acknowledged': {
        const key = attemptKey(write.job, write.fence);
        setRow(outbox, key, undefined, undo);
        const row = started.get(key);
        if (row) setRow(started, key, { ...row, isOver: true }, undo);
        return;
      }
      case 'forgotten':
        setRow(started, attemptKey(write.job, write.fence), undefined, undo);
    }
  }
}

function setRow<Key, Row>(
  table: Map<Key, Row>,
  key: Key,
  row: Row | undefined,
  undo: (() => void)[],
): void {
  const before = table.get(key);
  undo.push(() => (before === undefined ? table.delete(key) : table.set(key, before)));
  if (row === undefined) table.delete(key);
  else table.set(key, row);
}

function addRow<Row>(table: Map<string, Row>, key: string, row: Row, undo: (() => void)[]): void {
  if (table.has(key)) throw new Error(`${key} is there already`);
  setRow(table, key, row, undo);
}

function refuseOlder(next: JobRecord, held: JobRecord | undefined): void {
  if (!held || held.header.birth !== next.header.birth) return;
  const accepted =
    compareEpochs(next.header.accepted.epoch, held.header.accepted.epoch) ||
    next.header.accepted.version - held.header.accepted.version;
  if (accepted < 0 || compareEpochs(next.header.promised, held.header.promised) < 0) {
    throw new Error(`job ${next.header.job}: the disk has a later promise or version`);
  }
}

function isWanted(record: JobRecord, query: RecordQuery): boolean {
  const { job, header } = record;
  const { before, statuses } = query;
  if (before && newestFirst(record, { before }) <= 0) return false;
  if (statuses?.length && !statuses.includes(recordedStatus(job.state))) return false;
  if (query.taskType !== undefined && query.taskType !== job.spec.taskType) return false;
  return query.node === undefined || query.node === targetOf({ job, header });
}

function targetOf({ job }: JobRecord): NodeId | undefined {
  const { state } = job;
  if (state.tag === 'granted' || state.tag === 'revoked') return state.grant.executor;
  const executor = state.tag === 'final' ? state.final.outcome?.executor : undefined;
  return executor ?? job.spec.needs.target;
}

type Placed = JobRecord | { readonly before: NonNullable<RecordQuery['before']> };

function newestFirst(a: Placed, b: Placed): number {
  const [atA, idA] = placeOf(a);
  const [atB, idB] = placeOf(b);
  return atB - atA || compareText(idB, idA);
}

const placeOf = (placed: Placed): [number, JobId] =>
  'before' in placed
    ? [placed.before.createdAt, placed.before.job]
    : [placed.job.createdAt, placed.header.job];
