/** `worker-process.ts PEER OPTIONS`: the process in which a peer's jobs are done. */
import type { Counter, Work } from './worker-child.ts';

const [peer = '', options = '{}'] = process.argv.slice(2);

let done = 0;
let wanted = Number.POSITIVE_INFINITY;
const tell = (): void => {
  if (done < wanted) return;
  wanted = Number.POSITIVE_INFINITY;
  process.send?.({ done });
};
const counter: Counter = {
  one: () => {
    done += 1;
    tell();
  },
};
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit(0));
process.on('message', ({ wanted: asked }: { wanted: number }) => {
  wanted = asked;
  tell();
});
const { work } = (await import(`./${peer}.ts`)) as { work: Work };
await work(JSON.parse(options), counter);
process.send?.({ isReady: true });
