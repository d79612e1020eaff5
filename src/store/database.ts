/** Opens the file: permissions, durability, migrations, and the number of this boot. */
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { MeshError } from '../base/errors.ts';
import type { BootId } from '../base/ids.ts';
import { drizzle, migrate, sql } from './drizzle.ts';
import * as schema from './schema.ts';

export type Client = Database.Database;
export type Queries = ReturnType<typeof connect>;

/**
 * How long a commit waits for somebody else's write transaction. Short, since it blocks the loop:
 * the failed commit is tried again anyway.
 */
const BUSY_TIMEOUT_MS = 200;
/** A checkpoint costs two fsyncs: rarer than SQLite's 1,000 pages, and the file stays under 16 MiB. */
const CHECKPOINT_PAGES = 4000;
const CACHE_KIB = 8 * 1024;

/** Jobs carry secrets in their environment: the folder and all in it belong to their user alone. */
export function makeFolder(folder: string): void {
  const isNew = mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined;
  if (isNew) chmodSync(folder, 0o700);
}

/** WAL and synchronous=FULL, so that migrations and the boot's number survive the loss of power. */
export function openDatabase(file: string): { client: Client; queries: Queries } {
  closeSync(openSync(file, 'a', 0o600));
  const client = new Database(file, { timeout: BUSY_TIMEOUT_MS });
  try {
    client.pragma('journal_mode = WAL');
    client.pragma('synchronous = FULL');
    client.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    client.pragma(`journal_size_limit = ${CHECKPOINT_PAGES * 4096}`);
    client.pragma(`cache_size = -${CACHE_KIB}`);
    const queries = connect(client);
    migrateTo(client, queries, file);
    return { client, queries };
  } catch (thrown) {
    client.close();
    throw thrown;
  }
}

/** The counter rises in a transaction of its own, before anything else of this boot is written. */
export function raiseBoot(queries: Queries): BootId {
  const { meta } = schema;
  const row = queries
    .insert(meta)
    .values({ name: 'boots', value: 1 })
    .onConflictDoUpdate({ target: meta.name, set: { value: sql`${meta.value} + 1` } })
    .returning({ counter: meta.value })
    .get();
  // A start counts as one, so that no disk that was ever started tells 0.
  queries
    .insert(meta)
    .values({ name: 'commits', value: 1 })
    .onConflictDoUpdate({ target: meta.name, set: { value: sql`${meta.value} + 1` } })
    .run();
  return { counter: row.counter, salt: randomBytes(8).toString('hex') };
}

function connect(client: Client) {
  return drizzle({ client, schema });
}

function migrateTo(client: Client, queries: Queries, file: string): void {
  const migrationsFolder = findMigrations();
  refuseNewer(client, migrationsFolder, file);
  migrate(queries, { migrationsFolder });
}

/** Drizzle itself compares only the newest date, and would open a newer database without a word. */
function refuseNewer(client: Client, migrationsFolder: string, file: string): void {
  const hasHistory = client
    .prepare(`SELECT 1 FROM sqlite_master WHERE name = '__drizzle_migrations'`)
    .get();
  if (hasHistory === undefined) return;
  const applied = client.prepare('SELECT created_at FROM __drizzle_migrations').pluck().all();
  const journal = JSON.parse(
    readFileSync(join(migrationsFolder, 'meta/_journal.json'), 'utf8'),
  ) as { entries: { when: number }[] };
  const known = new Set(journal.entries.map((entry) => entry.when));
  if (applied.every((when) => known.has(Number(when)))) return;
  throw new MeshError(
    'DATA_NEWER',
    `The database file ${file} was written by a newer version of Worker Mesh. Start that version, or give this one a folder of its own with --data-dir.`,
  );
}

/** Beside the sources it lies two folders up, from the bundle one or two. */
function findMigrations(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const places = ['drizzle', '../drizzle', '../../drizzle'].map((place) => join(here, place));
  const found = places.find((place) => existsSync(join(place, 'meta/_journal.json')));
  if (found !== undefined) return found;
  throw new MeshError(
    'DATA_FAILED',
    `The SQL migrations are missing: ${places.join(', ')} were looked at. Install Worker Mesh again.`,
  );
}
