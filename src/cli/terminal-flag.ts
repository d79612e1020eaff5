/**
 * `mesh run -it` is what people type. Taken apart as usual, `-it` would be `-i` and `-t`, the timeout;
 * so it is written as the one option that it means, where it stands among the options of `run` and
 * not among the words of the command.
 */
import type { Command } from 'commander';

export function withTerminalFlag(argv: readonly string[], root: Command): string[] {
  const run = root.commands.find((command) => command.name() === 'run');
  const at = argv.indexOf('run');
  const words = [...argv];
  if (!run || at < 0) return words;
  for (let i = at + 1; i < words.length; i++) {
    const word = words[i] ?? '';
    if (!word.startsWith('-') || word === '--') return words;
    if (word === '-it' || word === '-ti') words[i] = '--terminal';
    const options = [...run.options, ...root.options];
    const option = options.find(({ short, long }) => short === word || long === word);
    if (option?.required) i += 1;
  }
  return words;
}
