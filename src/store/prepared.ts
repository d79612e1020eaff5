/**
 * Makes prepared statements of what drizzle builds. A query that is built per call costs six times
 * as much as one that is only run; and writes are run on the driver's own statement, because
 * drizzle's filling of 32 placeholders takes a third of an upsert's time.
 */
import type { SQL } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import type { Client } from './database.ts';
import { getTableColumns, is, Param, Placeholder, sql } from './drizzle.ts';

/** Values by placeholder; the result is the number of rows that changed. */
export type Writer = (values: Readonly<Record<string, unknown>>) => number;
export type ToWriter = (query: { toSQL(): { sql: string; params: unknown[] } }) => Writer;

export function prepareWriter(client: Client, query: Parameters<ToWriter>[0]): Writer {
  const { sql: text, params } = query.toSQL();
  const statement = client.prepare(text);
  const places = params.map(toPlace);
  return (values) =>
    statement.run(places.map((place) => ('name' in place ? values[place.name] : place.value)))
      .changes;
}

/** Drizzle wraps the placeholder of a column into a parameter of that column's type. */
function toPlace(param: unknown): { name: string } | { value: unknown } {
  const inner = is(param, Param) ? param.value : param;
  return is(inner, Placeholder) ? { name: inner.name } : { value: inner };
}

/** One placeholder per stored column, of the column's own name. */
export function placeholders<Table extends SQLiteTable>(table: Table) {
  const names = storedColumns(table).map(([name]) => [name, sql.placeholder(name)]);
  return Object.fromEntries(names) as Record<keyof Table['$inferInsert'], SQL>;
}

/** Every stored column but these as the row that was to be inserted has it. */
export function excluded(table: SQLiteTable, but: readonly string[]): Record<string, SQL> {
  return Object.fromEntries(
    storedColumns(table)
      .filter(([name]) => !but.includes(name))
      .map(([name, column]) => [name, sql.raw(`excluded.${column.name}`)]),
  );
}

/** For `set`: a placeholder of the same name for each. */
export const values = (names: readonly string[]): Record<string, SQL> =>
  Object.fromEntries(names.map((name) => [name, sql`${sql.placeholder(name)}`]));

const storedColumns = (table: SQLiteTable) =>
  Object.entries(getTableColumns(table)).filter(([, column]) => column.generated === undefined);
