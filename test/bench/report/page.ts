/**
 * The results as one HTML file that needs nothing else: a chart of bars for each line, drawn as
 * SVG, with every round as a dot on its bar. There is no script, and every text is escaped.
 */
import type { ContestantResult, LineResult, Results, RowResult } from './results.ts';
import { machineLine, numeral, verdictOf } from './text.ts';

const NAME_WIDTH = 230;
const BAR_WIDTH = 360;
const TEXT_WIDTH = 560;
const BAR_HEIGHT = 22;
const GAP = 6;

export function pageOf(results: Results): string {
  const title = `Worker Mesh, measured ${results.startedAt.slice(0, 16).replace('T', ' ')} UTC`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(machineLine(results))}${results.isQuick ? ' <b>A quick run: the figures mean nothing.</b>' : ''}</p>
<p class="keys"><span><i class="mesh"></i>mesh</span><span><i class="peer"></i>what is beside it</span>
A bar is the median, a dot a round. “Mesh / it” is the median of the ratios of neighbouring rounds.
CPU is of all processes together, memory the most that they had. Grey text: others used the machine meanwhile.</p>
${results.rows.map(sectionOf).join('\n')}
</body></html>
`;
}

const STYLE = `
body{font:14px/1.45 system-ui,sans-serif;margin:24px;color:#1c2430;background:#fff}
h1{font-size:20px}h2{font-size:16px;margin-top:32px;margin-bottom:2px}h3{font-size:14px;font-weight:600;margin:14px 0 4px}
.scroll{overflow-x:auto}.keys i{display:inline-block;width:12px;height:12px;margin-right:4px;vertical-align:-1px}
.keys span{margin-right:14px}.mesh{background:#1565c0;fill:#1565c0}.peer{background:#b0bec5;fill:#b0bec5}
.note{color:#4a5563;max-width:70em}.dot{fill:#1c2430}
text{font:12px system-ui,sans-serif;fill:#1c2430}.noisy{fill:#98a2ad}.behind{fill:#b3261e}`;

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

function sectionOf(row: RowResult): string {
  const without = row.without.map(
    ({ contestant, why }) => `<li>${escapeHtml(contestant)}: ${escapeHtml(why)}</li>`,
  );
  return `<section id="${escapeHtml(row.name)}"><h2>${escapeHtml(row.name)}</h2>
<p>${escapeHtml(row.what)}</p>
${row.lines.map(chartOf).join('\n')}
${without.length > 0 ? `<p>Without figures:</p><ul>${without.join('')}</ul>` : ''}
${row.note === null ? '' : `<p class="note">${escapeHtml(row.note)}</p>`}</section>`;
}

function chartOf(line: LineResult): string {
  const heading = `<h3>${escapeHtml(line.what)}, ${escapeHtml(line.unit)} (${line.better} is better)</h3>`;
  if (line.contestants.length === 0) return `${heading}<p>No figure.</p>`;
  const most = Math.max(...line.contestants.flatMap(({ rounds, median }) => [median, ...rounds]));
  const bars = line.contestants.map((each, at) => barOf(line, each, { at, most }));
  const width = NAME_WIDTH + BAR_WIDTH + TEXT_WIDTH;
  const height = line.contestants.length * (BAR_HEIGHT + GAP);
  return `${heading}<div class="scroll"><svg width="${width}" height="${height}" role="img">${bars.join('')}</svg></div>`;
}

function barOf(
  line: LineResult,
  each: ContestantResult,
  { at, most }: { at: number; most: number },
): string {
  const top = at * (BAR_HEIGHT + GAP);
  const middle = top + BAR_HEIGHT / 2;
  const lengthOf = (value: number): number => (most > 0 ? (value / most) * BAR_WIDTH : 0);
  const dots = each.rounds.map(
    (value) =>
      `<circle class="dot" cx="${px(NAME_WIDTH + lengthOf(value))}" cy="${px(middle)}" r="2.5"/>`,
  );
  const text = factsOf(line, each).map(escapeHtml).join(' · ');
  const noisy = each.foreignCores > 0.25 ? ' class="noisy"' : '';
  return `<text x="${NAME_WIDTH - 8}" y="${px(middle + 4)}" text-anchor="end"${noisy}>${escapeHtml(each.name)}</text>
<rect class="${each.isMesh ? 'mesh' : 'peer'}" x="${NAME_WIDTH}" y="${top}" width="${px(lengthOf(each.median))}" height="${BAR_HEIGHT}"><title>${escapeHtml(`${each.name}: ${each.rounds.map(numeral).join(', ')}; kept: ${each.keeps}`)}</title></rect>
${dots.join('')}<text x="${NAME_WIDTH + BAR_WIDTH + 10}" y="${px(middle + 4)}"${noisy}>${text}</text>`;
}

function factsOf(line: LineResult, each: ContestantResult): string[] {
  return [
    numeral(each.median),
    ...(each.ratio === null
      ? []
      : [`mesh / it ${each.ratio.toFixed(2)} (${verdictOf(line, each.ratio)})`]),
    ...(each.cpuSecondsPer10kJobs === null
      ? []
      : [`CPU ${each.cpuSecondsPer10kJobs.toFixed(2)} s/10k`]),
    `${(each.peakMemoryBytes / 1e6).toFixed(0)} MB`,
    each.keeps,
  ];
}

const px = (value: number): string => value.toFixed(1);
