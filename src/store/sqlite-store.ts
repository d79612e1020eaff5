/**
 * The port over one open database. SQLite is synchronous, and so is a turn; only the fsync is waited
 * for beside the loop. With `synchronous=NORMAL` SQLite itself calls none at a commit, which leaves
 * all of it in the log; what makes it durable is the fdatasync of that very file, which SQLite keeps
 * open, and the same, for as long as the database is open. A fence, a vote or an outcome therefore
 * costs the disk's time and not the loop's, and the loop starts, reads and answers meanwhile.
 */
import { closeSync, fdatasync, fdatasyncSync, openSync } from 'node:fs';
import { MeshError } from '../base/errors.ts';
import { asJobId, type JobId, type NodeId } from '../base/ids.ts';
import { asWall, type WallMs } from '../base/instant.ts';
import type { RecordQuery } from '../core/calls.ts';
import type { Conflict, Write } from '../core/effects.ts';
import type { StoredState } from '../core/inputs.ts';
import type { JobRecord } from '../core/job-record.ts';
import type { PeerRow, RememberedPeer, Store } from '../node/ports.ts';
import { applyWrites } from './apply-writes.ts';
import type { Client, Queries } from './database.ts';
import { type Expire, prepareExpire } from './expire.ts';
import { type Attempted, asStoreFailure, notKept } from './failures.ts';
import { toRecord, UNREAD_STATUS } from './job-row.ts';
import { JobLists } from './list-jobs.ts';
import { toPeer, toPeerRow } from './peer-row.ts';
import { type QuarantinedRow, restoreState } from './restore.ts';
import { prepareStatements, type Statements } from './statements.ts';

/** Who was away longer is not looked for any more; so the table stays bounded. */
const PEER_MEMORY_MS = 30 * 86_400_000;

export interface StoreParts {
  readonly client: Client;
  readonly queries: Queries;
  /** For messages. */
  readonly file: string;
  readonly release: () => void;
}

export class SqliteStore implements Store {
  private readonly parts: StoreParts;
  private readonly statements: Statements;
  private readonly writeAll: (writes: readonly Write[]) => void;
  private readonly expireSome: Expire;
  private readonly lists: JobLists;
  private readonly log: number;
  private rows: readonly QuarantinedRow[] = [];
  private commitCount: number;
  private isFlushing = false;

  constructor(parts: StoreParts) {
    this.parts = parts;
    this.statements = prepareStatements(parts.client, parts.queries);
    const { statements } = this;
    const transaction = parts.client.transaction((writes: readonly Write[]) =>
      applyWrites(statements, writes, Date.now()),
    );
    this.writeAll = transaction.immediate;
    this.commitCount = statements.readCommits.get()?.count ?? 0;
    this.expireSome = prepareExpire(parts.client, parts.queries);
    this.lists = new JobLists(parts.queries);
    // The boot's number was written with an fsync of SQLite's own, so the log is there.
    parts.client.pragma('synchronous = NORMAL');
    this.log = openSync(`${parts.client.name}-wal`, 'r+');
  }

  /** Rows that `restore` found unreadable: kept in the file, marked, and not trusted. */
  get quarantined(): readonly QuarantinedRow[] {
    return this.rows;
  }

  restore(): StoredState {
    return this.attempt('read', () => {
      const { state, quarantined } = restoreState(this.parts.client, this.statements);
      this.rows = quarantined;
      this.statements.deletePeersBefore({ beforeMs: Date.now() - PEER_MEMORY_MS });
      return state;
    });
  }

  write(writes: readonly Write[]): void {
    if (writes.length === 0) return;
    this.attempt('write', () => this.writeAll(writes));
    this.commitCount += 1;
  }

  flush(done: (failure?: Error) => void): void {
    this.isFlushing = true;
    fdatasync(this.log, (failure) => {
      this.isFlushing = false;
      if (!this.parts.client.open) closeSync(this.log);
      done(failure ? notKept(failure, this.parts.file) : undefined);
    });
  }

  commit(writes: readonly Write[]): void {
    this.write(writes);
    this.attempt('write', () => fdatasyncSync(this.log));
  }

  commits(): number {
    return this.commitCount;
  }

  readRecord(job: JobId): JobRecord | undefined {
    return this.attempt('read', () => {
      const row = this.statements.readJob.get({ jobId: job });
      if (row === undefined) return undefined;
      const record = toRecord(row);
      if (record !== undefined) return record;
      throw new MeshError(
        'DATA_CORRUPT',
        `The row of job ${job} in ${this.parts.file} cannot be read; it is kept as it is.`,
      );
    });
  }

  listRecords(query: RecordQuery): JobRecord[] {
    return this.attempt('read', () => this.lists.list(query));
  }

  countByStatus(): Readonly<Record<string, number>> {
    return this.attempt('read', () =>
      Object.fromEntries(
        this.statements.countByStatus
          .all()
          .filter(({ status }) => status !== UNREAD_STATUS)
          .map(({ status, count }) => [status, count]),
      ),
    );
  }

  listConflicts(limit: number): Conflict[] {
    return this.attempt('read', () =>
      this.statements.newestConflicts.all({ limit }).map(({ jobId, tag, note, foundMs }) => ({
        job: asJobId(jobId),
        at: asWall(foundMs),
        tag: tag as Conflict['tag'],
        note,
      })),
    );
  }

  expire(before: WallMs, stubsBefore: WallMs, limit: number): number {
    const expiry = { beforeMs: before, stubsBeforeMs: stubsBefore, limit };
    return this.attempt('write', () => this.expireSome(expiry));
  }

  readPeers(): RememberedPeer[] {
    return this.attempt('read', () => this.statements.newestPeers.all().flatMap(toPeer));
  }

  /**
   * A disk that takes no writes is not reported from here: the row only helps to find the mesh
   * again after a restart, it is written anew at the next change, and the commits tell of the disk.
   */
  writePeer(peer: PeerRow): void {
    try {
      this.attempt('write', () => this.statements.upsertPeer(toPeerRow(peer, Date.now())));
    } catch (thrown) {
      if (!(thrown instanceof MeshError)) throw thrown;
    }
  }

  noteCloned(node: NodeId, counter: number): void {
    const row = { nodeId: node, clonedCounter: counter };
    this.attempt('write', () => this.statements.noteCloned(row));
  }

  close(): void {
    if (!this.parts.client.open) return;
    this.parts.client.close();
    if (!this.isFlushing) closeSync(this.log);
    this.parts.release();
  }

  private attempt<Result>(attempted: Attempted, act: () => Result): Result {
    try {
      return act();
    } catch (thrown) {
      throw asStoreFailure(thrown, attempted, this.parts.file) ?? thrown;
    }
  }
}
