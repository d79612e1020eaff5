/**
 * The node's disk: one SQLite file per node, `worker_<node id>.db`, written by one process alone
 * and readable by anybody with the sqlite3 tool while it runs.
 *
 * - A turn of the driver is one transaction in a write-ahead log that is fsynced before anything of
 *   the turn is seen, so a hundred jobs share one fsync. No artificial delay is added.
 * - better-sqlite3 is synchronous on purpose: a transaction takes 0.1 ms, and a turn that waited for
 *   another thread would let inputs in between the decision and the file. Only the fsync, which takes
 *   the disk a millisecond or ten, is waited for beside the loop (sqlite-store.ts).
 * - drizzle gives the schema, the migrations (generated into `drizzle/`, applied at each start)
 *   and the queries; each hot one is prepared once.
 * - Nothing is checked in advance at a start: a check of all pages takes 5 s per gigabyte. Damage is
 *   found where it is read, which for all that is unfinished is before the node does anything.
 * - One process per folder (folder-lock.ts). What fails becomes a sentence (failures.ts). A commit
 *   that failed has written nothing and may be tried again.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { BootId, NodeId } from '../base/ids.ts';
import type { Store } from '../node/ports.ts';
import { type Client, makeFolder, openDatabase, raiseBoot } from './database.ts';
import { asStoreFailure } from './failures.ts';
import { lockFolder } from './folder-lock.ts';
import type { QuarantinedRow } from './restore.ts';
import { SqliteStore } from './sqlite-store.ts';

export interface StoreOptions {
  /** The node's data folder; made when missing. */
  readonly folder: string;
  readonly node: NodeId;
}

export interface OpenedStore {
  readonly store: Store;
  /** Of this life of the node; its counter is on disk already. */
  readonly boot: BootId;
  readonly file: string;
  /** Rows that `restore` could not read; empty before it. */
  readonly quarantined: () => readonly QuarantinedRow[];
  /**
   * Databases of other identities in the same folder: a node that has lost its key starts anew
   * beside its old jobs, and nobody serves those. For the log.
   */
  readonly otherFiles: readonly string[];
}

/** @throws MeshError DATA_LOCKED, DATA_CORRUPT, DATA_NEWER, DATA_FAILED, DISK_FULL */
export function openStore({ folder, node }: StoreOptions): OpenedStore {
  const file = join(folder, `worker_${node}.db`);
  let release = (): void => {};
  let client: Client | undefined;
  try {
    makeFolder(folder);
    release = lockFolder(folder);
    const opened = openDatabase(file);
    client = opened.client;
    const boot = raiseBoot(opened.queries);
    const store = new SqliteStore({ ...opened, file, release });
    const otherFiles = findDatabases(folder).filter((other) => other !== file);
    return { store, boot, file, otherFiles, quarantined: () => store.quarantined };
  } catch (thrown) {
    client?.close();
    release();
    throw asStoreFailure(thrown, 'open', file) ?? thrown;
  }
}

const findDatabases = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => /^worker_.*\.db$/.test(name))
    .sort()
    .map((name) => join(folder, name));
