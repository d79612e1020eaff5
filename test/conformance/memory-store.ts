/**
 * A disk in memory, for the simulator: it outlives the store that is opened on it, as a real one
 * outlives a process, and can be told to take no writes. It is trusted as far as it passes the
 * same suite as the real one.
 */
import { MeshError } from '../../src/base/errors.ts';
import { type BootId, compareText, type JobId, type NodeId } from '../../src/base/ids.ts';
import type { WallMs } from '../../src/base/instant.ts';
import type { Random } from '../../src/base/random.ts';
import { MAX_RECENT_BIRTHS } from '../../src/core/births.ts';
import type { RecordQuery } from '../../src/core/calls.ts';
import type { Conflict, Write } from '../../src/core/effects.ts';
import type {
  LostBirth,
  OutboxRow,
  StartedRow,
  StoredBirth,
  StoredPromise,
  StoredRecord,
  StoredState,
} from '../../src/core/inputs.ts';
import { recordedStatus } from '../../src/core/job.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import { attemptKey, type Ban, compareEpochs, compareValues } from '../../src/core/record.ts';
import type { PeerRow, RememberedPeer, Store } from '../../src/node/ports.ts';
import { toStub } from '../../src/store/expire.ts';

/** What a row says of a record beside its value. */
interface RecordNotes {
  /** 1: its final state is decided, 2: and on every disk of its sets. */
  readonly settled: 0 | 1 | 2;
  readonly lacking: NodeId | undefined;
  readonly isStub: boolean;
}

const NO_NOTES: RecordNotes = { settled: 0, lacking: undefined, isStub: false };

interface Tables {
  readonly records: Map<JobId, JobRecord>;
  /** None for a record that has nothing but its value. */
  readonly notes: Map<JobId, RecordNotes>;
  /** Only of jobs that have no record. */
  readonly promises: Map<JobId, StoredPromise>;
  readonly lostBirths: Map<string, LostBirth>;
  readonly bans: Map<NodeId, Ban>;
  /** By serial number, from the oldest on. */
  readonly conflicts: Map<number, Conflict>;
  readonly started: Map<string, StartedRow>;
  readonly outbox: Map<string, OutboxRow>;
}

export interface DiskCopy {
  readonly boots: number;
  readonly setBack: () => void;
}

export class MemoryDisk {
  /** Commits fail with DISK_FULL while this is set. */
  isFull = false;
  readonly isMadeId: (job: JobId) => boolean;
  boots = 0;
  commits = 0;
  readonly tables: Tables = {
    records: new Map(),
    notes: new Map(),
    promises: new Map(),
    lostBirths: new Map(),
    bans: new Map(),
    conflicts: new Map(),
    started: new Map(),
    outbox: new Map(),
  };
  readonly peers = new Map<NodeId, PeerRow>();
  readonly cloned = new Map<NodeId, number>();
  /** How to take back the last commits, as long as nothing but housekeeping came after the last fsync. */
  unsynced: (() => void)[] = [];

  /** @param isMadeId of ids that nodes make: in benches and in the simulator they are short */
  constructor(isMadeId: MemoryDisk['isMadeId'] = (job) => job.startsWith('job-')) {
    this.isMadeId = isMadeId;
  }

  /** Commits, each start counted as one. */
  get age(): number {
    return this.boots + this.commits;
  }

  /** A new life of the node. The store of the last one must not be used any more. */
  open(random: Random): { store: Store; boot: BootId } {
    this.boots += 1;
    const digits = Array.from({ length: 16 }, () => Math.floor(random() * 16).toString(16));
    return { store: new MemoryStore(this), boot: { counter: this.boots, salt: digits.join('') } };
  }

  /** What a loss of power leaves: of the commits that were not worth an fsync, the first ones. */
  tear(random: Random): void {
    const kept = Math.floor(random() * (this.unsynced.length + 1));
    for (const undo of this.unsynced.splice(kept).reverse()) undo();
    this.unsynced = [];
  }

  /** Everything as it is now, to be set back to. */
  copy(): DiskCopy {
    const { boots, commits, tables } = this;
    const peers = [...this.peers];
    const copies = Object.entries(tables).map(([name, rows]) => [name, new Map(rows)] as const);
    const setBack = (): void => {
      this.boots = boots;
      this.commits = commits;
      this.unsynced = [];
      this.peers.clear();
      for (const [node, peer] of peers) this.peers.set(node, peer);
      for (const [name, rows] of copies) {
        const table: Map<unknown, unknown> = tables[name as keyof Tables];
        table.clear();
        for (const [key, row] of rows) table.set(key, row);
      }
    };
    return { boots, setBack };
  }
}

class MemoryStore implements Store {
  private readonly disk: MemoryDisk;

  constructor(disk: MemoryDisk) {
    this.disk = disk;
  }

  restore(): StoredState {
    const { records, promises, lostBirths, bans, started, outbox } = this.disk.tables;
    return {
      records: [...records.values()].flatMap((record) => this.toRestore(record)),
      promises: [...promises.values()],
      lostBirths: [...lostBirths.values()],
      births: this.newestBirths(),
      bans: [...bans.values()],
      started: [...started.values()],
      outbox: [...outbox.values()],
    };
  }

  commit(writes: readonly Write[]): void {
    this.write(writes);
  }

  flush(done: () => void): void {
    done();
  }

  write(writes: readonly Write[]): void {
    if (writes.length === 0) return;
    if (this.disk.isFull) throw diskFull();
    const undo: Undo = [];
    try {
      for (const write of writes) this.apply(write, undo);
    } catch (thrown) {
      for (const step of undo.reverse()) step();
      throw thrown;
    }
    this.disk.commits += 1;
    if (writes.some((write) => !isLazy(write))) this.disk.unsynced = [];
    else
      this.disk.unsynced.push(() => {
        for (const step of undo.reverse()) step();
      });
  }

  readRecord(job: JobId): JobRecord | undefined {
    return this.disk.tables.records.get(job);
  }

  listRecords(query: RecordQuery): JobRecord[] {
    return [...this.disk.tables.records.values()]
      .filter((record) => isWanted(record, query) && !this.notesOf(record.header.job).isStub)
      .sort(newestFirst)
      .slice(0, query.limit);
  }

  countByStatus(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { header, job } of this.disk.tables.records.values()) {
      if (this.notesOf(header.job).isStub) continue;
      const status = recordedStatus(job.state);
      counts[status] = (counts[status] ?? 0) + 1;
    }
    return counts;
  }

  listConflicts(limit: number): Conflict[] {
    return [...this.disk.tables.conflicts.values()]
      .reverse()
      .sort((a, b) => b.at - a.at)
      .slice(0, limit);
  }

  expire(before: WallMs, stubsBefore: WallMs, limit: number): number {
    if (this.disk.isFull) throw diskFull();
    const { records, notes } = this.disk.tables;
    let changed = 0;
    for (const [job, record] of records) {
      const { state } = record.job;
      if (changed === limit) break;
      if (state.tag !== 'final' || state.final.at >= before) continue;
      const known = this.notesOf(job);
      if (known.settled === 2 || (known.isStub && state.final.at < stubsBefore)) {
        records.delete(job);
        notes.delete(job);
      } else if (!known.isStub) {
        records.set(job, toStub(record));
        notes.set(job, { ...known, isStub: true });
      } else continue;
      changed += 1;
    }
    return changed;
  }

  readPeers(): RememberedPeer[] {
    return [...this.disk.peers.values()]
      .sort((a, b) => b.lastHeartbeat - a.lastHeartbeat || compareText(a.facts.node, b.facts.node))
      .map(({ facts, boot, commits }) => ({
        node: facts.node,
        name: facts.name,
        boot,
        commits,
        clonedCounter: this.disk.cloned.get(facts.node),
        hosts: facts.hosts,
        linkPort: facts.linkPort,
      }))
      .filter((peer) => peer.hosts.length > 0);
  }

  writePeer(peer: PeerRow): void {
    if (!this.disk.isFull) this.disk.peers.set(peer.facts.node, peer);
  }

  noteCloned(node: NodeId, counter: number): void {
    if (this.disk.peers.has(node)) this.disk.cloned.set(node, counter);
  }

  commits(): number {
    return this.disk.age;
  }

  close(): void {}

  private newestBirths(): StoredBirth[] {
    return [...this.disk.tables.records.values()]
      .filter(({ header }) => !this.disk.isMadeId(header.job))
      .sort(newestFirst)
      .slice(0, MAX_RECENT_BIRTHS)
      .reverse()
      .map(({ header: { job, birth, accepted }, job: { createdAt } }) => ({
        job,
        birth,
        accepted,
        createdAt,
      }));
  }

  private notesOf(job: JobId): RecordNotes {
    return this.disk.tables.notes.get(job) ?? NO_NOTES;
  }

  private toRestore(record: JobRecord): StoredRecord[] {
    const { settled, lacking } = this.notesOf(record.header.job);
    const isWanted = record.job.state.tag !== 'final' || settled === 0 || lacking !== undefined;
    if (!isWanted) return [];
    return [lacking === undefined ? record : { ...record, lacking }];
  }

  private apply(write: Write, undo: Undo): void {
    const { lostBirths, bans, conflicts, started, outbox } = this.disk.tables;
    switch (write.kind) {
      case 'record':
        this.applyRecord(write, undo);
        return;
      case 'promise':
      case 'settled':
      case 'marked':
      case 'dropped':
        this.applyNote(write, undo);
        return;
      case 'birthLost': {
        const { job, birth } = write;
        setRow(lostBirths, `${job} ${birth}`, { job, birth }, undo);
        return;
      }
      case 'ban':
        setRow(bans, write.ban.node, write.ban, undo);
        return;
      case 'conflict': {
        const last = [...conflicts.keys()].at(-1) ?? 0;
        setRow(conflicts, last + 1, write.conflict, undo);
        setRow(conflicts, last + 1 - MAX_CONFLICTS, undefined, undo);
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

  /** Another birth, an older value or one below the promise changes nothing. */
  private applyRecord({ header, job, isSettled }: Of<'record'>, undo: Undo): void {
    const { records, notes, promises } = this.disk.tables;
    const held = records.get(header.job)?.header;
    const promised = held?.promised ?? promises.get(header.job)?.epoch;
    const isBelow = promised && compareEpochs(header.accepted.epoch, promised) < 0;
    const isOther = held && held.birth !== header.birth;
    if (isBelow || isOther || (held && compareValues(header.accepted, held.accepted) < 0)) return;
    const isHigher = promised && compareEpochs(promised, header.promised) > 0;
    const record = { header: isHigher ? { ...header, promised } : header, job };
    setRow(records, header.job, record, undo);
    if (promises.has(header.job)) setRow(promises, header.job, undefined, undo);
    const known = this.notesOf(header.job);
    if (!isSettled && known === NO_NOTES) return;
    const settled = isSettled ? 2 : known.settled;
    setRow(notes, header.job, { ...known, settled, isStub: false }, undo);
  }

  private applyNote(write: Of<'promise' | 'settled' | 'marked' | 'dropped'>, undo: Undo): void {
    const { records, notes, promises } = this.disk.tables;
    const { job } = write;
    const record = records.get(job);
    const known = this.notesOf(job);
    switch (write.kind) {
      case 'promise': {
        const lone = promises.get(job);
        const promised = record?.header.promised ?? lone?.epoch;
        if (promised && compareEpochs(write.epoch, promised) <= 0) return;
        const isRetired = lone?.isRetired ?? false;
        if (!record) setRow(promises, job, { job, epoch: write.epoch, isRetired }, undo);
        else {
          const header = { ...record.header, promised: write.epoch };
          setRow(records, job, { header, job: record.job }, undo);
        }
        return;
      }
      case 'settled': {
        if (record?.job.state.tag !== 'final') return;
        const settled = write.isEverywhere || known.settled === 2 ? 2 : 1;
        setRow(notes, job, { ...known, settled }, undo);
        return;
      }
      case 'marked':
        if (record) setRow(notes, job, { ...known, lacking: write.lacking }, undo);
        return;
      case 'dropped': {
        const before = record?.header.promised ?? promises.get(job)?.epoch ?? write.promised;
        const epoch = compareEpochs(before, write.promised) > 0 ? before : write.promised;
        setRow(records, job, undefined, undo);
        setRow(notes, job, undefined, undo);
        const isRetired = write.isRetired || promises.get(job)?.isRetired === true;
        setRow(promises, job, { job, epoch, isRetired }, undo);
      }
    }
  }
}

type Undo = (() => void)[];
type Of<K extends Write['kind']> = Extract<Write, { kind: K }>;

const MAX_CONFLICTS = 10_000;

const diskFull = (): MeshError => new MeshError('DISK_FULL', 'The disk in memory takes no writes.');

/** Should these be lost, an outcome is told once more and a final state agreed on once more. */
const isLazy = (write: Write): boolean =>
  write.kind === 'acknowledged' || write.kind === 'forgotten' || write.kind === 'settled';

function setRow<Key, Row>(table: Map<Key, Row>, key: Key, row: Row | undefined, undo: Undo): void {
  const before = table.get(key);
  undo.push(() => (before === undefined ? table.delete(key) : table.set(key, before)));
  if (row === undefined) table.delete(key);
  else table.set(key, row);
}

function addRow<Row>(table: Map<string, Row>, key: string, row: Row, undo: Undo): void {
  if (table.has(key)) throw new Error(`${key} is there already`);
  setRow(table, key, row, undo);
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
