/** The table of settings as people read it: in a terminal and in the README. */
import { SETTINGS, type Setting } from './settings.ts';

const WIDTH = 80;
const INDENT = ' '.repeat(6);

/** For `--help`: one paragraph per setting, at most 80 columns wide. */
export function settingsHelp(): string {
  return all()
    .map((entry) => {
      const head = `  ${flagOf(entry) ?? `(${entry.env[0]} only)`}`;
      const from = [`default: ${fallbackOf(entry)}`, `env: ${entry.env.join(', ')}`].join('; ');
      return [head, ...wrap(entry.meaning), ...wrap(`(${from})`)].join('\n');
    })
    .join('\n');
}

/** For the README: a Markdown table, one row per setting. */
export function settingsTable(): string {
  const rows = all().map((entry) => {
    const flag = flagOf(entry);
    const cells = [
      flag ? `\`${flag}\`` : '—',
      entry.env.map((name) => `\`${name}\``).join(' '),
      `${fallbackOf(entry)}`,
      entry.meaning,
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return ['| flag | environment | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** `--api-port <port>`; undefined: there is none. */
export function flagOf(entry: Setting<unknown>): string | undefined {
  if (!entry.from.includes('flag')) return undefined;
  return `--${entry.name} ${entry.kind.placeholder}`.trimEnd();
}

function fallbackOf(entry: Setting<unknown>): string {
  if (typeof entry.fallback === 'string') return entry.fallback || 'none';
  return entry.fallbackText ?? '';
}

function wrap(sentence: string): string[] {
  const lines = [''];
  for (const word of sentence.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (INDENT.length + line.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line) => INDENT + line);
}

const all = (): readonly Setting<unknown>[] => Object.values(SETTINGS);
