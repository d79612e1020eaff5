/**
 * A PostgreSQL of its own on a socket in the contestant's folder: fsync and synchronous_commit as
 * they are by default, with the memory and the log size one gives a server that has work to do.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findProgram } from '../frame/needs.ts';
import { type Need, Unavailable } from '../frame/row.ts';
import { startServer } from './server.ts';

export const POSTGRES: Need = { program: 'initdb', debian: 'postgresql' };

/** It refuses to run as root; then it is the user `nobody`. */
const NOBODY = 65534;
const PORT = 5432;
const SETTINGS = [
  'listen_addresses=',
  'shared_buffers=512MB',
  'max_wal_size=4GB',
  'wal_buffers=16MB',
  'checkpoint_timeout=30min',
  'fsync=on',
  'synchronous_commit=on',
  'max_connections=60',
];

export interface PgConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

export interface Postgres {
  readonly connection: PgConnection;
  readonly url: string;
  stop(): Promise<void>;
}

export async function startPostgres(folder: string): Promise<Postgres> {
  const initdb = findProgram('initdb');
  if (initdb === undefined) throw new Unavailable('initdb of PostgreSQL is not installed');
  // The path of a socket has at most 107 bytes, and another user has to get there.
  const place = join(folder, 'pg');
  mkdirSync(place);
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  if (user.uid !== undefined) {
    chownSync(place, NOBODY, NOBODY);
    for (const path of [folder, dirname(folder)]) chmodSync(path, 0o755);
  }
  const data = join(place, 'data');
  const init = ['-D', data, '-U', 'bench', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale=C'];
  execFileSync(initdb, init, { ...user, cwd: place, stdio: 'ignore' });
  const server = await startServer({
    folder: place,
    program: 'postgres',
    args: [
      '-D',
      data,
      '-k',
      place,
      '-p',
      String(PORT),
      ...SETTINGS.flatMap((each) => ['-c', each]),
    ],
    at: join(place, `.s.PGSQL.${PORT}`),
    ...user,
    // Ends its sessions instead of waiting for them.
    stopBy: 'SIGINT',
  });
  return {
    connection: { host: place, port: PORT, user: 'bench', database: 'postgres' },
    url: `postgres://bench@/postgres?host=${encodeURIComponent(place)}&port=${PORT}`,
    stop: () => server.stop(),
  };
}

export interface PgPool {
  query(text: string, values?: readonly unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
  end(): Promise<void>;
  on(event: 'error', listener: () => void): void;
}

export interface Pg {
  readonly default: {
    readonly Pool: new (options: PgConnection & { max: number }) => PgPool;
  };
}

/** Its socket answers a moment before it takes questions. */
export async function isTakingQuestions(pool: PgPool): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    try {
      await pool.query('select 1');
      return;
    } catch (failure) {
      if (performance.now() > deadline) throw failure;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
