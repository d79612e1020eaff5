/** Tells who waits at a terminal why a job has not started: silence looks like a fault. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobJson } from '../api/job-json.ts';
import type { Client } from '../client/client.ts';

interface Waiting {
  readonly client: Client;
  readonly id: string;
  /** Given again only when the reasons have changed. */
  readonly onNotice: (sentence: string) => void;
  readonly signal: AbortSignal;
}

/** A job that starts within this is not talked about. */
const FIRST_LOOK_MS = 2000;
const LOOK_AGAIN_MS = 5000;

/** Settles when the job no longer waits, or at the signal; never rejects. */
export async function tellWhyItWaits({ client, id, onNotice, signal }: Waiting): Promise<void> {
  let told = '';
  try {
    for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = LOOK_AGAIN_MS) {
      await sleep(pauseMs, undefined, { signal });
      const [job, { nodes }] = await Promise.all([
        client.getJob(id, { signal }),
        client.nodes({ signal }),
      ]);
      if (job.status !== 'JOB_PENDING') return;
      const names = new Map(nodes.map((node) => [node.node_id, node.name]));
      const reasons = reasonsOf(job, names);
      if (reasons !== '' && reasons !== told) onNotice(`it waits for a node: ${reasons}`);
      told = reasons;
    }
  } catch {
    // What follows the output says that the node cannot be asked; this would only say it twice.
  }
}

/** `label missing (node1, node2); no free slot (node3)` */
function reasonsOf({ waiting }: JobJson, names: ReadonlyMap<string, string>): string {
  const byReason = new Map<string, string[]>();
  for (const { node_id, reason } of waiting)
    byReason.set(reason, [...(byReason.get(reason) ?? []), names.get(node_id) ?? node_id]);
  return [...byReason]
    .map(([reason, nodes]) => `${reason} (${nodes.sort().join(', ')})`)
    .sort()
    .join('; ');
}
