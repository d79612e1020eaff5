/**
 * What is printed. Commands, names and messages come from other people and machines: control
 * characters in them are shown, not sent to the terminal. Job output alone goes out as it is.
 */
import { stripVTControlCharacters } from 'node:util';

export const DEFAULT_WIDTH = 80;

export const print = (line: string): void => void process.stdout.write(`${line}\n`);
export const printError = (line: string): void => void process.stderr.write(`${line}\n`);
export const printJson = (value: unknown): void => print(JSON.stringify(value));

/** Of the terminal; 80 where there is none, so that what is piped fits one. */
export const terminalWidth = (): number => Math.max(40, process.stdout.columns ?? DEFAULT_WIDTH);

/** On one line and without control characters. */
export const visible = (text: string): string =>
  stripVTControlCharacters(text)
    .replace(/\r?\n/g, ' ⏎ ')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get out
    .replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '·');

/** In columns: wide characters take two, combining marks none. */
export function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) width += isWide(segment) ? 2 : 1;
  return width;
}

/** At most so many columns; what is cut off is marked. */
export function clip(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  let kept = '';
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    width += isWide(segment) ? 2 : 1;
    if (width > columns - 1) break;
    kept += segment;
  }
  return `${kept}…`;
}

const isWide = (segment: string): boolean =>
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u.test(
    segment,
  );

export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  readonly isRight?: boolean;
  /** Wider texts are cut. */
  readonly maxWidth?: number;
}

/** Lines of at most `width` columns; the last column gives way. */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  width: number,
): string[] {
  const cells = rows.map((row) => columns.map((column) => visible(column.text(row))));
  const widths = columns.map((column, i) => {
    const widest = Math.max(widthOf(column.title), ...cells.map((row) => widthOf(row[i] ?? '')));
    return Math.min(widest, column.maxWidth ?? widest);
  });
  const before = widths.slice(0, -1).reduce((sum, one) => sum + one + GAP.length, 0);
  widths[widths.length - 1] = Math.max(8, Math.min(widths.at(-1) ?? 0, width - before));
  const titles = columns.map((column) => column.title);
  return [titles, ...cells].map((row) => lineOf(row, columns, widths));
}

const GAP = '  ';

function lineOf<Row>(
  row: readonly string[],
  columns: readonly Column<Row>[],
  widths: readonly number[],
): string {
  const padded = row.map((cell, i) => {
    const text = clip(cell, widths[i] ?? 0);
    const padding = ' '.repeat(Math.max(0, (widths[i] ?? 0) - widthOf(text)));
    return columns[i]?.isRight ? padding + text : text + padding;
  });
  return padded.join(GAP).trimEnd();
}

/** `5s`, `12m`, `3h`, `4d`. */
export function ageOf(since: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(since)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}
