/**
 * The process of one contestant: `node contestant-process.ts ROW CONTESTANT FOLDER [quick]`. It
 * does what it is asked over the channel to its parent, one thing at a time, and closes when it is
 * told to or when the parent is gone.
 */
import { rowNamed } from '../rows.ts';
import type { Answer, Request } from './messages.ts';
import { type Opened, Unavailable } from './row.ts';

const [row = '', contestant = '', folder = '', size = ''] = process.argv.slice(2);

const answer = (said: Answer): void => void process.send?.(said);

function tell(failure: unknown): void {
  if (failure instanceof Unavailable) {
    answer({ kind: 'unavailable', why: failure.message });
  } else {
    process.stderr.write(`${failure instanceof Error ? failure.stack : failure}\n`);
    const why = failure instanceof Error ? failure.message : String(failure);
    answer({ kind: 'failed', why });
  }
}

async function serve(opened: Opened): Promise<void> {
  let isClosing = false;
  const close = async (): Promise<void> => {
    if (isClosing) return;
    isClosing = true;
    await opened.close();
    if (process.connected) answer({ kind: 'closed' });
    process.exit(0);
  };
  const act = async (request: Request): Promise<void> => {
    if ('close' in request) return close();
    const run = opened.runs[request.run];
    if (!run) throw new Error(`${contestant} has no run ${request.run}`);
    answer({ kind: 'ran', sample: await run() });
  };
  process.on('message', (request: Request) => void act(request).catch(tell));
  process.on('disconnect', () => void close().catch(() => process.exit(1)));
  answer({ kind: 'opened', runs: Object.keys(opened.runs) });
}

// Ctrl-C reaches the whole group; the parent decides when this one closes.
process.on('SIGINT', () => {});
const found = rowNamed(row)?.contestants.find(({ name }) => name === contestant);
if (!found) throw new Error(`there is no contestant ${contestant} in the row ${row}`);
try {
  await serve(await found.open({ isQuick: size === 'quick', folder }));
} catch (failure) {
  tell(failure);
  process.exitCode = 1;
  process.disconnect?.();
}
