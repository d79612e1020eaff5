/** A node on the bench that runs jobs of B. */

import { B, CoreBench } from './core-bench.ts';
import { PeerOwner, reportRunning } from './peers.ts';

export const SIGTERM = { tag: 'signalled', signal: 'SIGTERM' } as const;

/** A node that runs jobs for B, one at a time if nothing else is said. */
export function executing(options: ConstructorParameters<typeof CoreBench>[0] = {}): {
  bench: CoreBench;
  owner: PeerOwner;
} {
  const bench = new CoreBench({ facts: { slots: 1 }, ...options });
  bench.link(B);
  return { bench, owner: new PeerOwner(bench, B) };
}

/** A job of B that runs on the bench. */
export function running(options: ConstructorParameters<typeof CoreBench>[0] = {}, spec = {}) {
  const parts = executing(options);
  const grant = parts.owner.give(spec);
  const { attempt } = parts.bench.one('start');
  reportRunning(parts.bench, attempt);
  parts.bench.message(B, 'started');
  return { ...parts, grant };
}

/** Time passes while the owner says yes to every renewal. */
export function live(bench: CoreBench, owner: PeerOwner, ms: number): void {
  for (let passed = 0; passed < ms; passed += 100) {
    bench.advance(100);
    owner.renewAll();
  }
}

/** The owner has no more work, and nothing else came out. */
export function assertQuiet(bench: CoreBench, owner: PeerOwner): void {
  owner.declineAll();
  bench.assertQuiet();
}

export const endOf = (bench: CoreBench) => bench.message(B, 'result').outcome.end;
