/**
 * The limit for an API on one disk: node:http and better-sqlite3 with fsync in a process of its
 * own, what comes in one turn of the loop in one commit, and nothing else.
 */
import { createServer, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { freePort } from './server.ts';
import { WorkerChild } from './worker-child.ts';

export async function startBareApi(
  folder: string,
): Promise<{ url: string; stop(): Promise<void> }> {
  const port = await freePort();
  const server = await WorkerChild.start('bare-api', { port, file: join(folder, 'bare.db') });
  return { url: `http://127.0.0.1:${port}`, stop: () => server.stop() };
}

const SCHEMA = `
  PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
  CREATE TABLE jobs (id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL,
    job TEXT NOT NULL) WITHOUT ROWID;
`;

interface Waiting {
  readonly jobs: readonly unknown[];
  readonly response: ServerResponse;
}

export async function work({ port, file }: { port: number; file: string }): Promise<void> {
  const db = new Database(file);
  db.exec(SCHEMA);
  const insert = db.prepare('INSERT INTO jobs VALUES (?, ?, ?, ?)');
  const find = db.prepare('SELECT * FROM jobs WHERE id = ?');
  const list = db.prepare('SELECT * FROM jobs ORDER BY id DESC LIMIT ?');
  const answer = (response: ServerResponse, status: number, json: unknown): void => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(json));
  };
  let waiting: Waiting[] = [];
  let count = 0;
  const commit = (): void => {
    const all = waiting;
    waiting = [];
    const now = new Date().toISOString();
    const rows = db.transaction(() =>
      all.map(({ jobs }) =>
        jobs.map((job) => {
          const id = `job-${String(count++).padStart(20, '0')}`;
          insert.run(id, 'JOB_PENDING', now, JSON.stringify(job));
          return { job_id: id, status: 'JOB_PENDING', created_at: now };
        }),
      ),
    )();
    all.forEach(({ response, jobs }, i) => {
      answer(response, 201, jobs.length === 1 ? rows[i]?.[0] : { jobs: rows[i] });
    });
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    if (request.method === 'GET') {
      const id = pathname.split('/')[4];
      const found = id === undefined ? list.all(searchParams.get('limit') ?? 50) : find.get(id);
      return answer(response, found ? 200 : 404, found ?? {});
    }
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const body: unknown = JSON.parse(Buffer.concat(pieces).toString('utf8'));
      waiting.push({ jobs: Array.isArray(body) ? body : [body], response });
      if (waiting.length === 1) setImmediate(commit);
    });
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
}
