/**
 * The one place that loads drizzle, and never by an ESM import: Node's ESM loader leaves 150 MB
 * of garbage over drizzle's 131 cyclic modules, the same code by `require` costs 18 MB, and
 * inside a bundle 4 MB. A single `import … from 'drizzle-orm…'` of a value anywhere in the graph
 * brings the 150 MB back; type imports are free.
 *
 * The two branches load the same. A bundler follows the literal `require` and takes the code in,
 * where plain ESM has no `require` and makes one. (The bundle's banner defines it.)
 */
import { createRequire } from 'node:module';

type Core = typeof import('drizzle-orm');
type Columns = typeof import('drizzle-orm/sqlite-core');
type Driver = typeof import('drizzle-orm/better-sqlite3');
type Migrator = typeof import('drizzle-orm/better-sqlite3/migrator');

const hasRequire = typeof require === 'function';
const load = hasRequire ? undefined : createRequire(import.meta.url);

const core = (load?.('drizzle-orm') ?? require('drizzle-orm')) as Core;
const columns = (load?.('drizzle-orm/sqlite-core') ??
  require('drizzle-orm/sqlite-core')) as Columns;
const driver = (load?.('drizzle-orm/better-sqlite3') ??
  require('drizzle-orm/better-sqlite3')) as Driver;
const migrator = (load?.('drizzle-orm/better-sqlite3/migrator') ??
  require('drizzle-orm/better-sqlite3/migrator')) as Migrator;

export const {
  and,
  asc,
  desc,
  eq,
  getTableColumns,
  inArray,
  is,
  notInArray,
  Param,
  Placeholder,
  sql,
} = core;
export const { blob, index, integer, primaryKey, sqliteTable, text } = columns;
export const { drizzle } = driver;
export const { migrate } = migrator;
