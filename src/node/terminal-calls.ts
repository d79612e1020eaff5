/**
 * From whoever has a client to the node where the terminal runs. By the same calls as everything
 * else between nodes: they are authenticated, multiplexed and bounded already, while a connection
 * of its own would have to be all that again, and pass the same firewalls. A key that is typed costs
 * one round trip.
 */
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { LiveRecord, TerminalAsk, TerminalCall, TerminalReply } from '../core/calls.ts';
import type { Fence } from '../core/record.ts';
import type { Links, Terminals } from './ports.ts';

const CALL_MARGIN_MS = 5000;

/** A terminal's one attempt. */
export interface TerminalPlace {
  readonly job: JobId;
  readonly fence: Fence;
  readonly executor: NodeId;
}

/** Undefined: it does not run now. @throws MeshError BAD_REQUEST for a job that is no terminal */
export function terminalPlace({ record, status }: LiveRecord): TerminalPlace | undefined {
  const { header, job } = record;
  if (job.spec.taskType !== 'terminal') {
    throw new MeshError(
      'BAD_REQUEST',
      `${header.job} is no terminal but of the task type ${job.spec.taskType}.`,
    );
  }
  if (job.state.tag !== 'granted' || status !== 'JOB_RUNNING') return undefined;
  const { fence, executor } = job.state.grant;
  return { job: header.job, fence, executor };
}

export class TerminalCalls {
  private readonly parts: {
    readonly self: NodeId;
    readonly links: Pick<Links, 'call'>;
    readonly terminals: Terminals;
  };

  constructor(parts: TerminalCalls['parts']) {
    this.parts = parts;
  }

  /** @throws MeshError NODE_UNREACHABLE: it is not known whether it was taken */
  async ask(
    { job, fence, executor }: TerminalPlace,
    session: string,
    { ask, signal }: { ask: TerminalAsk; signal: AbortSignal },
  ): Promise<TerminalReply> {
    const call: TerminalCall = { kind: 'terminal', job, fence, session, ask };
    if (executor === this.parts.self) return this.parts.terminals.answer(call, signal);
    const deadlineMs = CALL_MARGIN_MS + (ask.tag === 'read' ? ask.waitMs : 0);
    const answer = await this.parts.links.call(executor, call, { deadlineMs, signal });
    return answer.kind === 'terminal' ? answer.reply : { tag: 'unknown' };
  }
}
