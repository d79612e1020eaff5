/** The nodes of this user that run here, asked about themselves. */
import { messageOf } from '../../base/errors.ts';
import { type Client, createClient } from '../../client/client.ts';
import { httpsFetch } from '../../client/https-fetch.ts';
import type { RunningNode } from '../../client/running-nodes.ts';
import { type Finding, inArea } from './finding.ts';

const ANSWER_DEADLINE_MS = 3000;
const MAX_CLOCK_DIFFERENCE_MS = 5 * 60_000;

export async function checkNodes(running: readonly RunningNode[]): Promise<Finding[]> {
  const say = inArea('nodes');
  if (running.length === 0)
    return [say('note', 'No node of yours runs on this machine.', 'Start one with: mesh up')];
  const findings = (await Promise.all(running.map(checkNode))).flat();
  return [...findings, ...(await checkConflicts(running))];
}

/** Each node answers for the whole mesh. One that does not answer is told of by its own check. */
async function checkConflicts(running: readonly RunningNode[]): Promise<Finding[]> {
  for (const node of running) {
    try {
      const signal = AbortSignal.timeout(ANSWER_DEADLINE_MS);
      const { conflicts, count, truncated } = await clientOf(node).conflicts({ signal });
      const [newest] = conflicts;
      if (!newest) return [];
      const [is, them] = count === 1 ? ['1 conflict is', 'it'] : [`${count} conflicts are`, 'them'];
      const text = `${truncated ? 'More than ' : ''}${is} known; the newest: ${newest.job_id}: ${newest.note}.`;
      return [inArea('jobs')('note', text, `See ${them} with: mesh conflicts`)];
    } catch {
      // The next one may answer.
    }
  }
  return [];
}

const clientOf = ({ api, token, ca }: RunningNode): Client =>
  createClient({ url: api, token, ...(ca !== undefined && { fetch: httpsFetch(ca) }) });

async function checkNode(running: RunningNode): Promise<Finding[]> {
  const say = inArea('nodes');
  const { name, pid, api } = running;
  const client = clientOf(running);
  try {
    const answer = await client.doctor({ signal: AbortSignal.timeout(ANSWER_DEADLINE_MS) });
    const alive = answer.peers.filter((peer) => peer.state === 'alive').length;
    const silent = answer.peers.filter((peer) => peer.state !== 'alive');
    const { heard, own_heard, targets, port } = answer.discovery;
    const failing = targets.filter((target) => target.last_error !== null);
    return [
      say(
        'ok',
        `${name} (pid ${pid}) answers at ${api} and sees ${alive} alive ${alive === 1 ? 'peer' : 'peers'}.`,
      ),
      ...answer.problems.map((problem) => say('problem', `${name}: ${problem}`)),
      ...silent.map((peer) =>
        say(
          'note',
          `${name} sees ${peer.name} (${peer.address}) as ${peer.state}.`,
          'Is it down, or does a firewall drop TCP between the two?',
        ),
      ),
      ...answer.missed.map((missed) =>
        say(
          'note',
          `${missed.jobs === 1 ? '1 job' : `${missed.jobs} jobs`} that ${name} keeps a copy of wait for ${missed.name || missed.node_id}, which does not answer.`,
          `Start it again. If it will never return: mesh forget ${missed.name || missed.node_id}`,
        ),
      ),
      ...failing.map((target) =>
        say('note', `${name} cannot send heartbeats to ${target.address} (${target.last_error}).`),
      ),
      ...(heard === 0 && own_heard === 0 && port !== 0
        ? [
            say(
              'problem',
              `${name} hears no heartbeats on UDP ${port}, not even its own.`,
              'Name the other machines with --peers (MESH_PEERS).',
            ),
          ]
        : []),
    ];
  } catch (failure) {
    return [
      say(
        'problem',
        `${name} (pid ${pid}) does not answer at ${api}: ${messageOf(failure)}`,
        'It may be starting or ending; else look into its log.',
      ),
    ];
  }
}

/** Nothing that could lose a job hangs on the calendar; certificates and what people read do. */
export function checkClock(now: number, programTime: number): Finding {
  const say = inArea('clock');
  const shown = new Date(now).toISOString();
  if (now + MAX_CLOCK_DIFFERENCE_MS < programTime) {
    return say(
      'problem',
      `The clock says ${shown}, which is before this program was made.`,
      'Set the clock; `timedatectl` says whether it is kept in time.',
    );
  }
  return say('ok', `The clock says ${shown}.`);
}
