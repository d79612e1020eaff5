/** Has another node fetch a file and keep it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeId } from '../base/ids.ts';
import type { Links } from './ports.ts';

/** It answers sooner, also when it is still at it. */
const ASK_DEADLINE_MS = 15_000;
const AGAIN_MS = 200;

/** Settles when it has it on its disk. Rejects with why it cannot, or the reason of `signal`. */
export async function keepAt(
  node: NodeId,
  sha256: string,
  { links, signal }: { links: Pick<Links, 'call'>; signal: AbortSignal },
): Promise<void> {
  for (;;) {
    const options = { deadlineMs: ASK_DEADLINE_MS, signal };
    const answer = await links.call(node, { kind: 'keepBlob', sha256 }, options);
    if (answer.kind === 'blob' && answer.chunk) return;
    await sleep(AGAIN_MS, undefined, { signal });
  }
}
