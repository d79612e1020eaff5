/**
 * The database of an identity that the mesh has forgotten. It is kept beside the new one under
 * another name, for people and for what it holds: jobs that perhaps nobody else knows. What became
 * of each is noted in it, so that a start in the middle of it goes on and does nothing twice.
 */
import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Fate, Former, FormerJob } from '../node/ports.ts';
import { type Client, openDatabase, type Queries } from './database.ts';
import { and, asc, sql } from './drizzle.ts';
import { asStoreFailure } from './failures.ts';
import { lockFolder } from './folder-lock.ts';
import { RECORD_COLUMNS, toRecord } from './job-row.ts';
import { toPeer } from './peer-row.ts';
import { jobs, workerNodes } from './schema.ts';

/**
 * Nobody else may use the folder while its files change their names.
 * @throws MeshError DATA_LOCKED, DATA_FAILED
 */
export function withLockedFolder<Result>(folder: string, act: () => Result): Result {
  let release = (): void => {};
  try {
    release = lockFolder(folder);
    return act();
  } catch (thrown) {
    throw asStoreFailure(thrown, 'open', folder) ?? thrown;
  } finally {
    release();
  }
}

/** Done again after a crash in its middle, it comes to the same. @returns the new name */
export function setDatabaseAside(folder: string, node: NodeId, mark: string): string {
  const file = join(folder, `worker_${node}.db`);
  const aside = `${file}.${mark}`;
  if (!existsSync(file)) return aside;
  // A write-ahead log belongs to its database by name: it is emptied, or the rename would lose it.
  const { client } = openDatabase(file);
  client.pragma('journal_mode = DELETE');
  client.close();
  renameSync(file, aside);
  return aside;
}

/** @throws MeshError DATA_CORRUPT, DATA_NEWER, DATA_FAILED, DISK_FULL */
export function openForgotten(identity: { file: string; node: NodeId; by: NodeId }): Former {
  try {
    return new Forgotten(identity, openDatabase(identity.file));
  } catch (thrown) {
    throw asStoreFailure(thrown, 'open', identity.file) ?? thrown;
  }
}

const MAX_PEERS = 256;

class Forgotten implements Former {
  readonly node: NodeId;
  readonly by: NodeId;
  readonly file: string;
  private readonly client: Client;
  private readonly queries: Queries;

  constructor(
    { file, node, by }: { file: string; node: NodeId; by: NodeId },
    opened: { client: Client; queries: Queries },
  ) {
    this.node = node;
    this.by = by;
    this.file = file;
    this.client = opened.client;
    this.queries = opened.queries;
    this.client.exec(
      'CREATE TABLE IF NOT EXISTS handed_in (job_id text PRIMARY KEY NOT NULL, fate text NOT NULL)',
    );
  }

  readPeers(): ReturnType<Former['readPeers']> {
    return this.queries.select().from(workerNodes).limit(MAX_PEERS).all().flatMap(toPeer);
  }

  /** Not final, or final and perhaps known here alone. What cannot be read stays where it is. */
  openJobs(after: JobId | undefined, limit: number): readonly FormerJob[] {
    const fate = sql<
      string | null
    >`(SELECT fate FROM handed_in AS done WHERE done.job_id = ${jobs.jobId})`;
    const isOpen = sql`(${jobs.finishedMs} IS NULL OR ${jobs.settled} = 0 OR ${jobs.lacking} IS NOT NULL) AND ${jobs.isStub} = 0`;
    const rows = this.queries
      .select({ ...RECORD_COLUMNS, fate })
      .from(jobs)
      .where(and(isOpen, sql`${jobs.jobId} > ${after ?? ''}`))
      .orderBy(asc(jobs.jobId))
      .limit(limit)
      .all();
    return rows.map((row) => ({
      job: row.jobId as JobId,
      record: toRecord(row),
      fate: (row.fate ?? undefined) as Fate | undefined,
    }));
  }

  note(job: JobId, fate: Fate): void {
    this.client
      .prepare('INSERT OR REPLACE INTO handed_in (job_id, fate) VALUES (?, ?)')
      .run(job, fate);
  }

  close(): void {
    if (this.client.open) this.client.close();
  }
}
