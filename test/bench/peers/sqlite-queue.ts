/**
 * The floor: a queue in one process on better-sqlite3, with fsync at each commit and nothing
 * around it (no network, no other process, no retries, no second node). All that is submitted in
 * one turn of the loop shares a commit; so do 200 ends.
 */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Contestant, Stage } from '../frame/row.ts';
import type { Params, Queue } from './queue.ts';

export const sqliteQueue: Pick<Contestant, 'name' | 'isMesh' | 'keeps'> = {
  name: 'bare SQLite in the process',
  isMesh: false,
  keeps: 'one disk, fsync',
};

const BATCH = 200;
const SCHEMA = `
  PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;
  CREATE TABLE jobs (
    id TEXT PRIMARY KEY, state INTEGER NOT NULL, priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, params TEXT, result TEXT,
    finished_at INTEGER) WITHOUT ROWID;
  CREATE INDEX ready ON jobs(priority, created_at, id) WHERE state = 0;
`;

export async function openSqliteQueue({ folder }: Stage): Promise<Queue> {
  const queue = new SqliteQueue(join(folder, 'queue.db'));
  return {
    submit: async (params) => void (await queue.submit(params)),
    submitMany: async (all) => void (await Promise.all(all.map((each) => queue.submit(each)))),
    drained: () => queue.drained(),
    roundTrip: async (params) => queue.ended(await queue.submit(params)),
    close: async () => queue.close(),
  };
}

class SqliteQueue {
  private readonly db: Database.Database;
  private readonly insert: Database.Statement;
  private readonly take: Database.Statement;
  private readonly finish: Database.Statement;
  private readonly fresh: { id: string; params: string; taken: (id: string) => void }[] = [];
  private readonly waiting = new Map<string, () => void>();
  private unfinished = 0;
  private count = 0;
  private isWorking = false;
  private onDrained = (): void => {};

  constructor(file: string) {
    this.db = new Database(file);
    this.db.exec(SCHEMA);
    this.insert = this.db.prepare(
      'INSERT INTO jobs (id, state, priority, created_at, params) VALUES (?, 0, 5, ?, ?)',
    );
    this.take = this.db.prepare(
      `UPDATE jobs SET state = 1, attempt = attempt + 1 WHERE id IN
        (SELECT id FROM jobs WHERE state = 0 ORDER BY priority, created_at, id LIMIT ${BATCH})
        RETURNING id, params`,
    );
    this.finish = this.db.prepare(
      'UPDATE jobs SET state = 2, result = ?, finished_at = ? WHERE id = ?',
    );
  }

  submit(params: Params): Promise<string> {
    const id = `job-${String(this.count++).padStart(20, '0')}`;
    this.unfinished += 1;
    return new Promise((taken) => {
      this.fresh.push({ id, params: JSON.stringify(params), taken });
      if (this.fresh.length === 1) setImmediate(() => this.commitFresh());
    });
  }

  /** Asked for in the turn in which it was taken, so the end cannot have come before. */
  async ended(id: string): Promise<void> {
    await new Promise<void>((resolve) => this.waiting.set(id, resolve));
  }

  async drained(): Promise<void> {
    if (this.unfinished === 0) return;
    await new Promise<void>((resolve) => {
      this.onDrained = resolve;
    });
  }

  close(): void {
    this.db.close();
  }

  private commitFresh(): void {
    const all = this.fresh.splice(0);
    const now = Date.now();
    this.db.transaction(() => {
      for (const { id, params } of all) this.insert.run(id, now, params);
    })();
    for (const { id, taken } of all) taken(id);
    if (!this.isWorking) setImmediate(() => void this.work());
    this.isWorking = true;
  }

  private async work(): Promise<void> {
    for (;;) {
      const rows = this.db.transaction(() => this.take.all())() as { id: string; params: string }[];
      this.isWorking = rows.length > 0;
      if (!this.isWorking) return;
      const results = await Promise.all(rows.map(({ params }) => handle(JSON.parse(params))));
      const now = Date.now();
      this.db.transaction(() => {
        rows.forEach(({ id }, i) => void this.finish.run(JSON.stringify(results[i]), now, id));
      })();
      for (const { id } of rows) this.tell(id);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  private tell(id: string): void {
    const waiting = this.waiting.get(id);
    if (waiting) waiting();
    this.waiting.delete(id);
    this.unfinished -= 1;
    if (this.unfinished === 0) this.onDrained();
  }
}

const handle = async (_params: Params): Promise<{ ok: boolean }> => ({ ok: true });
