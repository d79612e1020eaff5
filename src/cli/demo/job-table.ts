/**
 * The table of the demo. On a terminal it is drawn again and again in place; elsewhere each job is
 * one line, printed when it has ended.
 */
import type { DemoJob } from './jobs.ts';

export interface JobRow {
  readonly job: DemoJob;
  readonly status: string;
  /** Name of the node it runs on; undefined while it waits. */
  readonly node: string | undefined;
  readonly exitCode: number | null;
  /** First line of its output. */
  readonly output: string;
  readonly isFinal: boolean;
}

const WIDTH = 80;

export class JobTable {
  private readonly out: NodeJS.WriteStream;
  private drawnLines = 0;
  private readonly printed = new Set<number>();

  constructor(out: NodeJS.WriteStream) {
    this.out = out;
  }

  draw(rows: readonly JobRow[]): void {
    if (this.out.isTTY && this.out.rows > rows.length + 2) this.redraw(rows);
    else this.append(rows);
  }

  private redraw(rows: readonly JobRow[]): void {
    const lines = [HEADER, ...rows.map(toLine)];
    const up = this.drawnLines > 0 ? `\x1b[${this.drawnLines}A` : '';
    this.out.write(up + lines.map((line) => `\x1b[2K${line}\n`).join(''));
    this.drawnLines = lines.length;
  }

  private append(rows: readonly JobRow[]): void {
    if (this.printed.size === 0 && this.drawnLines === 0) this.out.write(`${HEADER}\n`);
    this.drawnLines = 1;
    rows.forEach((row, i) => {
      if (!row.isFinal || this.printed.has(i)) return;
      this.printed.add(i);
      this.out.write(`${toLine(row)}\n`);
    });
  }
}

function columns(job: string, node: string, status: string, exit: string, output: string): string {
  const line = `${job.padEnd(19)} ${node.padEnd(6)} ${status.padEnd(10)} ${exit.padStart(4)}  ${output}`;
  return line.slice(0, WIDTH).trimEnd();
}

const HEADER = columns('JOB', 'NODE', 'STATUS', 'EXIT', 'OUTPUT');

const toLine = (row: JobRow): string =>
  columns(
    row.job.title,
    row.node ?? '–',
    row.status.replace('JOB_', '').toLowerCase(),
    row.exitCode === null ? '' : String(row.exitCode),
    row.output,
  );
