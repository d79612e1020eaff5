/** All rows, in the order in which they are run and printed. */
import type { Row } from './frame/row.ts';
import { file } from './rows/file.ts';
import { followers, http } from './rows/http.ts';
import { latency } from './rows/latency.ts';
import { mixed } from './rows/mixed.ts';
import { noop } from './rows/noop.ts';
import { output } from './rows/output.ts';
import { queued } from './rows/queued.ts';
import { discovery, rest } from './rows/rest.ts';
import { shell } from './rows/shell.ts';
import { simulated } from './rows/simulated.ts';
import { spread } from './rows/spread.ts';

export const ROWS: readonly Row[] = [
  noop,
  spread,
  shell,
  latency,
  http,
  followers,
  mixed,
  output,
  file,
  queued,
  rest,
  discovery,
  simulated,
];

export const rowNamed = (name: string): Row | undefined => ROWS.find((row) => row.name === name);
