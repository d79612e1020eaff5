/**
 * The report as one HTML file that needs nothing else: a picture of the run (a lane per node, its
 * faults behind, what it executed in front, changes of owners above) and the tables. The texts in
 * it come from nodes and commands, so all of them are escaped; there is no script.
 */
import type { Case, Violation } from './checks.ts';
import type { Execution, FaultRecord, History } from './history.ts';
import { type Report, reportLines, timeText } from './report.ts';

export function pageOf(history: History, report: Report): string {
  const { run, verdict, violations } = report;
  const title = `mesh torture, seed ${run.seed}: ${verdict}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(run.startedAt)}, ${timeText(run.tookMs)}, version ${escapeHtml(run.version)}. Again: <code>${escapeHtml(run.repeat)}</code></p>
<div class="scroll picture">${timelineOf(history, run.tookMs)}</div>
<p>${timeText(run.tookMs)} from left to right: scroll the picture sideways. Point at a bar to read what it is.</p>
${legendOf(history)}
${violations.map(violationHtml).join('\n')}
<h2>Summary</h2><pre>${escapeHtml(reportLines(report).join('\n'))}</pre>
<h2>Repeated executions</h2>${duplicatesHtml(report)}
<h2>Faults</h2>${faultsHtml(history)}
</body></html>
`;
}

const STYLE = `
body{font:14px/1.45 system-ui,sans-serif;margin:24px;color:#1c2430;background:#fff}
h1{font-size:20px}h2{font-size:16px;margin-top:28px}
.scroll{overflow-x:auto}.picture{border:1px solid #d5dae1}
p code{overflow-wrap:anywhere}td code{white-space:nowrap}
table{border-collapse:collapse}td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #e4e8ee}
pre{background:#f5f7fa;padding:12px;overflow-x:auto}
.broken{border-left:4px solid #c62828;padding:2px 12px;margin:14px 0}
.keys span{display:inline-block;white-space:nowrap;margin-right:14px}
.keys i{display:inline-block;width:12px;height:12px;margin-right:4px;vertical-align:-1px}
text{font:11px system-ui,sans-serif;fill:#4a5563}`;

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

// ---------------------------------------------------------------- the picture

const LABEL_WIDTH = 60;
const MIN_WIDTH = 1100;
const MAX_WIDTH = 12_000;
const PX_PER_SECOND = 12;
const ROW = 6;
const LANE_GAP = 22;
/** Times, and below them the owners of the first lane. */
const HEAD = 28;

const FAULT_COLOURS: Readonly<Record<FaultRecord['kind'], string>> = {
  kill: '#e57373',
  freeze: '#90caf9',
  restart: '#ffe082',
  drain: '#dce775',
  rolling: '#ffd54f',
  host: '#b71c1c',
  'host-freeze': '#5c9bd6',
  cut: '#b39ddb',
  'one-way': '#ce93d8',
  udp: '#d7ccc8',
  loss: '#ffcc80',
  disk: '#a1887f',
};
const ENDED = '#2e7d32';
const CUT_SHORT = '#ef6c00';
const REPEATED = '#6a1b9a';
const OVERLAPPING = '#000';

interface Lane {
  readonly node: string;
  readonly top: number;
  readonly height: number;
  readonly rows: readonly (readonly Execution[])[];
}

function timelineOf(history: History, runMs: number): string {
  const tookMs = Math.max(1, runMs);
  const seconds = tookMs / 1000;
  const width = Math.min(MAX_WIDTH, Math.max(MIN_WIDTH, seconds * PX_PER_SECOND));
  const x = (ms: number): number => Math.round((LABEL_WIDTH + (ms / tookMs) * width) * 10) / 10;
  const lanes = lanesOf(history);
  const bottom = (lanes.at(-1)?.top ?? 0) + (lanes.at(-1)?.height ?? 0) + LANE_GAP;
  const firsts = firstStarts(history);
  const parts = [
    ...ticksOf(seconds, x, bottom),
    ...lanes.flatMap((lane) => [
      `<text x="4" y="${lane.top + 12}">${escapeHtml(lane.node)}</text>`,
      ...history.faults
        .filter(({ nodes }) => nodes.includes(lane.node))
        .map((fault) => faultBar(fault, lane, x)),
      ...lane.rows.flatMap((row, i) =>
        row.map((execution) => executionBar(execution, { lane, row: i, x, firsts })),
      ),
      ...takeovers(history, lane, x),
    ]),
  ];
  const full = LABEL_WIDTH + width + 20;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${full}" height="${bottom}" role="img" aria-label="Timeline">${parts.join('\n')}</svg>`;
}

/** Executions that lived at the same time lie below each other. */
function lanesOf(history: History): Lane[] {
  let top = HEAD;
  return history.nodes.map((node) => {
    const rows: Execution[][] = [];
    const here = history.executions.filter((execution) => execution.node === node);
    for (const execution of here.toSorted((a, b) => a.start - b.start)) {
      const free = rows.find((row) => (row.at(-1)?.last ?? 0) < execution.start);
      if (free) free.push(execution);
      else rows.push([execution]);
    }
    const height = Math.max(4, rows.length) * ROW + 10;
    const lane = { node, top, height, rows };
    top += height + LANE_GAP;
    return lane;
  });
}

function ticksOf(seconds: number, x: (ms: number) => number, bottom: number): string[] {
  const step = seconds > 180 ? 30 : 10;
  const marks = Array.from({ length: Math.floor(seconds / step) + 1 }, (_, i) => i * step);
  return marks.map(
    (at) =>
      `<line x1="${x(at * 1000)}" x2="${x(at * 1000)}" y1="14" y2="${bottom}" stroke="#e4e8ee"/><text x="${x(at * 1000) + 2}" y="11">${at} s</text>`,
  );
}

function faultBar(fault: FaultRecord, lane: Lane, x: (ms: number) => number): string {
  const left = x(fault.from);
  const wide = Math.max(2, x(fault.to) - left);
  const title = faultTitle(fault);
  return `<rect x="${left}" y="${lane.top}" width="${wide}" height="${lane.height}" fill="${FAULT_COLOURS[fault.kind]}" opacity="0.55"><title>${escapeHtml(title)}</title></rect>`;
}

const faultTitle = ({ kind, nodes, from, to, note }: FaultRecord): string =>
  `${kind} of ${nodes.join(', ')}, ${timeText(from)} to ${timeText(to)}${note && `, ${note}`}`;

function executionBar(
  execution: Execution,
  place: {
    lane: Lane;
    row: number;
    x: (ms: number) => number;
    firsts: ReadonlyMap<string, number>;
  },
): string {
  const { lane, row, x, firsts } = place;
  const { label, job, attempt, fence, start, last, exitCode, overlaps } = execution;
  const left = x(start);
  const wide = Math.max(1.5, x(last) - left);
  const isRepeat = firsts.get(job) !== start;
  const ended = isRepeat ? REPEATED : ENDED;
  const colour = exitCode === undefined ? CUT_SHORT : ended;
  const title = `${label} ${job}, attempt ${attempt} (${fence}), ${timeText(start)} to ${timeText(last)}${exitCode === undefined ? ', cut short' : ''}${overlaps.length > 0 ? ', beside another one' : ''}`;
  return `<rect x="${left}" y="${lane.top + 5 + row * ROW}" width="${wide}" height="${ROW - 1}" fill="${overlaps.length > 0 ? OVERLAPPING : colour}"><title>${escapeHtml(title)}</title></rect>`;
}

function firstStarts(history: History): Map<string, number> {
  const firsts = new Map<string, number>();
  for (const { job, start } of history.executions) {
    firsts.set(job, Math.min(start, firsts.get(job) ?? start));
  }
  return firsts;
}

/** Where a job was first seen to be owned by another node than before. */
function takeovers(history: History, lane: Lane, x: (ms: number) => number): string[] {
  const owners = new Map<string, string>();
  return history.sightings.flatMap(({ job, owner, at }) => {
    const before = owners.get(job);
    owners.set(job, owner);
    if (before === undefined || before === owner || owner !== lane.node) return [];
    const title = `${job}: owned by ${owner}, before by ${before} (seen at ${timeText(at)})`;
    const [left, top] = [x(at), lane.top - 2];
    return [
      `<path d="M${left} ${top}l-4 -7h8z" fill="#00838f"><title>${escapeHtml(title)}</title></path>`,
    ];
  });
}

function legendOf({ faults }: History): string {
  const kinds = [...new Set(faults.map(({ kind }) => kind))];
  const key = (colour: string, text: string): string =>
    `<span><i style="background:${colour}"></i>${escapeHtml(text)}</span>`;
  return `<p class="keys">${[
    key(ENDED, 'execution'),
    key(CUT_SHORT, 'cut short'),
    key(REPEATED, 'repeated'),
    key(OVERLAPPING, 'beside another'),
    key('#00838f', '▾ new owner seen'),
    ...kinds.map((kind) => key(FAULT_COLOURS[kind], kind)),
  ].join(' ')}</p>`;
}

// ---------------------------------------------------------------- the tables

function violationHtml({ promise, rule, cases }: Violation): string {
  const row = ({ job, what }: Case): string =>
    `<tr><td><code>${escapeHtml(job ?? '')}</code></td><td>${escapeHtml(what)}</td></tr>`;
  return `<div class="broken"><b>${escapeHtml(promise)}: ${escapeHtml(rule)} (${cases.length})</b><div class="scroll"><table>${cases.map(row).join('')}</table></div></div>`;
}

function duplicatesHtml({ duplicates }: Report): string {
  if (duplicates.length === 0) return '<p>None.</p>';
  const rows = duplicates.map(({ job, label, first, second, cause }) =>
    rowHtml([
      label,
      job,
      `${first.node} ${timeText(first.start)}`,
      `${second.node} ${timeText(second.start)}`,
      cause ?? 'NONE',
    ]),
  );
  return tableHtml(['job', 'id', 'first', 'then', 'cause'], rows);
}

function faultsHtml({ faults }: History): string {
  const rows = faults
    .toSorted((a, b) => a.from - b.from)
    .map(({ kind, nodes, from, to, note }) =>
      rowHtml([kind, nodes.join(', '), timeText(from), timeText(to), note]),
    );
  return tableHtml(['fault', 'nodes', 'from', 'to', 'note'], rows);
}

/** On a small screen a wide table scrolls, and not the page. */
const tableHtml = (head: readonly string[], rows: readonly string[]): string =>
  `<div class="scroll"><table>${headHtml(head)}${rows.join('')}</table></div>`;

const headHtml = (cells: readonly string[]): string =>
  `<tr>${cells.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('')}</tr>`;

const rowHtml = (cells: readonly string[]): string =>
  `<tr>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`;
