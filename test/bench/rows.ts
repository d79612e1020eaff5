/** All rows, in the order in which they are run and printed. */
import type { Row } from './frame/row.ts';
import { latency } from './rows/latency.ts';
import { noop } from './rows/noop.ts';
import { shell } from './rows/shell.ts';
import { spread } from './rows/spread.ts';

export const ROWS: readonly Row[] = [noop, spread, shell, latency];

export const rowNamed = (name: string): Row | undefined => ROWS.find((row) => row.name === name);
