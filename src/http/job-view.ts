/** Jobs as the node knows them → as the API shows them. */
import type {
  AttemptJson,
  ExplanationJson,
  JobJson,
  SubmittedJson,
  UsageJson,
  WaitingJson,
} from '../api/job-json.ts';
import type { LiveRecord } from '../core/calls.ts';
import {
  type AttemptOutcome,
  type FinalState,
  type GrantNote,
  type JobState,
  MAX_TAIL_BYTES,
  NO_OUTPUT,
  type OutputTail,
  type PastAttempt,
} from '../core/job.ts';
import { type Epoch, fenceText, ownerOf } from '../core/record.ts';

/** In a list of a thousand jobs the whole ends of their outputs would be 64 MiB. */
export const LIST_TAIL_BYTES = 2048;

export function toJobJson(live: LiveRecord, tailBytes = MAX_TAIL_BYTES): JobJson {
  const { header, job } = live.record;
  const { spec, state } = job;
  const final = finalOf(live);
  const target = targetOf(live);
  const attempts = attemptsOf(live);
  return {
    job_id: header.job,
    target_node_id: target,
    target_node: target,
    command: spec.command,
    task_type: spec.taskType,
    params: jsonOf(spec.params),
    status: live.status,
    cancelling: isCancelling(state),
    settling: live.isSettling,
    env: spec.env,
    working_dir: spec.workingDir ?? null,
    run: objectOf(spec.run),
    timeout_seconds: spec.timeoutMs / 1000,
    queue_timeout_seconds: secondsOf(spec.queueTimeoutMs),
    total_timeout_seconds: secondsOf(spec.totalTimeoutMs),
    ...progressOf(live, final),
    priority: spec.priority,
    delivery: spec.delivery,
    on_isolation: spec.onIsolation,
    required: spec.needs.capabilities,
    labels: spec.needs.labels,
    ...endOf(final),
    ...outputOf(final, tailBytes),
    ...receiptOf(final),
    created_at: timeOf(job.createdAt),
    ...timesOf(live, final),
    created_by_node: job.createdBy,
    owner_node_id: ownerOf(header),
    from_replica: !live.isOwner,
    epoch: epochText(header.accepted.epoch),
    attempt: job.attempts,
    fence: attempts.findLast((attempt) => !attempt.superseded)?.fence ?? null,
    attempts,
    superseded: attempts.filter((attempt) => attempt.superseded),
    waiting: waitingOf(live),
    durability: live.durability,
    replicas: header.rs,
    replicas_wanted: spec.replicas ?? null,
  };
}

export function toSubmittedJson(
  live: LiveRecord,
  durability: SubmittedJson['durability'],
): SubmittedJson {
  const { header, job } = live.record;
  const target = targetOf(live);
  return {
    job_id: header.job,
    target_node: target,
    target_node_id: target,
    command: job.spec.command,
    status: live.status,
    created_at: timeOf(job.createdAt),
    durability,
  };
}

export function toExplanation(live: LiveRecord): ExplanationJson {
  const attempts = attemptsOf(live);
  return {
    job_id: live.record.header.job,
    status: live.status,
    summary: summaryOf(live),
    waiting: waitingOf(live),
    attempts,
    superseded: attempts.filter((attempt) => attempt.superseded),
  };
}

export const timeOf = (at: number): string => new Date(at).toISOString();

// ---------------------------------------------------------------- where

/** The executor of the newest attempt, else the node it is pinned to. */
function targetOf({ record: { job } }: LiveRecord): string | null {
  const { state, spec } = job;
  if (state.tag === 'granted' || state.tag === 'revoked') return state.grant.executor;
  if (state.tag === 'final' && state.final.outcome) return state.final.outcome.executor;
  return spec.needs.target ?? null;
}

const waitingOf = (live: LiveRecord): WaitingJson[] =>
  live.waiting.map(({ node, reason }) => ({ node_id: node, reason }));

const epochText = ({ counter, node }: Epoch): string => `${counter}.${node}`;

// ---------------------------------------------------------------- attempts

function attemptsOf({ record: { job }, isSettling }: LiveRecord): AttemptJson[] {
  const past = job.history.map(toPastJson);
  const current = currentOf(job.state, isSettling);
  // The last of the lost attempts of a JOB_LOST is in both; why it was lost is worth more.
  const isListed = past.some(({ fence, superseded }) => fence === current?.fence && !superseded);
  return current && !isListed ? [...past, current] : past;
}

const toPastJson = ({ fence, executor, at, note, isSuperseded }: PastAttempt): AttemptJson => ({
  attempt: fence.attempt,
  fence: fenceText(fence),
  node_id: executor,
  at: timeOf(at),
  note,
  superseded: isSuperseded,
});

function currentOf(state: JobState, isSettling: boolean): AttemptJson | undefined {
  switch (state.tag) {
    case 'pending':
      return undefined;
    case 'granted':
      return toGrantJson(state.grant, state.grant.why);
    case 'revoked':
      return toGrantJson(state.grant, `given up: ${state.reason}`);
    case 'final': {
      const { outcome, at } = state.final;
      if (!outcome) return undefined;
      const note = isSettling ? 'its outcome is being agreed on' : 'decided the job';
      return toPastJson({ ...outcome, at: outcome.startedAt ?? at, note, isSuperseded: false });
    }
  }
}

const toGrantJson = ({ fence, executor, at }: GrantNote, note: string): AttemptJson =>
  toPastJson({ fence, executor, at, note, isSuperseded: false });

const isCancelling = (state: JobState): boolean =>
  (state.tag === 'granted' || state.tag === 'revoked') && state.cancelAt !== undefined;

// ---------------------------------------------------------------- the end

/** Nothing of an end is told that is not decided: another one may be. */
const finalOf = ({ record: { job }, isSettling }: LiveRecord): FinalState | undefined =>
  job.state.tag === 'final' && !isSettling ? job.state.final : undefined;

function endOf(
  final: FinalState | undefined,
): Pick<JobJson, 'exit_code' | 'signal' | 'error_message'> {
  const end = final?.outcome?.end;
  return {
    exit_code: end?.tag === 'exited' ? end.code : null,
    signal: end?.tag === 'signalled' ? end.signal : null,
    error_message: final?.reason || null,
  };
}

function timesOf(
  live: LiveRecord,
  final: FinalState | undefined,
): Pick<JobJson, 'started_at' | 'finished_at'> {
  const { state } = live.record.job;
  const ended = state.tag === 'final' ? state.final.outcome?.startedAt : undefined;
  const startedAt = live.startedAt ?? ended;
  const finishedAt = final?.outcome?.finishedAt ?? final?.at;
  return {
    started_at: startedAt === undefined ? null : timeOf(startedAt),
    finished_at: finishedAt === undefined ? null : timeOf(finishedAt),
  };
}

type OutputFields = Pick<
  JobJson,
  'stdout' | 'stderr' | 'stdout_bytes' | 'stderr_bytes' | 'stdout_truncated' | 'stderr_truncated'
>;

function outputOf(final: FinalState | undefined, tailBytes: number): OutputFields {
  const stdout = textOf(final?.outcome?.stdout ?? NO_OUTPUT, tailBytes);
  const stderr = textOf(final?.outcome?.stderr ?? NO_OUTPUT, tailBytes);
  return {
    stdout: stdout.text,
    stderr: stderr.text,
    stdout_bytes: stdout.totalBytes,
    stderr_bytes: stderr.totalBytes,
    stdout_truncated: stdout.isCut,
    stderr_truncated: stderr.isCut,
  };
}

function textOf(
  tail: OutputTail,
  tailBytes: number,
): { text: string; totalBytes: number; isCut: boolean } {
  let shown = tail.bytes.subarray(Math.max(0, tail.bytes.length - tailBytes));
  const isCut = shown.length < tail.totalBytes;
  // A cut in the middle of a character would begin the text with a replacement mark.
  for (let i = 0; isCut && i < 3 && ((shown[0] ?? 0) & 0xc0) === 0x80; i++)
    shown = shown.subarray(1);
  const text = Buffer.from(shown.buffer, shown.byteOffset, shown.length).toString('utf8');
  return { text, totalBytes: tail.totalBytes, isCut: isCut || tail.isTruncated };
}

function progressOf(
  live: LiveRecord,
  final: FinalState | undefined,
): Pick<JobJson, 'progress' | 'progress_message'> {
  const progress = final?.outcome?.receipt?.progress ?? live.progress;
  return { progress: progress?.percent ?? null, progress_message: progress?.message ?? null };
}

function receiptOf(
  final: FinalState | undefined,
): Pick<JobJson, 'usage' | 'result' | 'files' | 'files_note'> {
  const outcome = final?.outcome;
  const { result, files, filesNote } = outcome?.receipt ?? {};
  return {
    usage: outcome ? usageOf(outcome) : null,
    result: result === undefined ? null : jsonOf(result),
    files: files ?? [],
    files_note: filesNote ?? null,
  };
}

function usageOf(outcome: AttemptOutcome): UsageJson | null {
  const { startedAt, finishedAt, stdout, stderr, receipt } = outcome;
  if (startedAt === undefined) return null;
  const { cpuMs, peakMemoryBytes, limitsBy } = receipt?.usage ?? {};
  return {
    wall_seconds: Math.max(0, finishedAt - startedAt) / 1000,
    cpu_seconds: secondsOf(cpuMs),
    peak_memory_bytes: peakMemoryBytes ?? null,
    limits_by: limitsBy ?? null,
    output_bytes: stdout.totalBytes + stderr.totalBytes,
  };
}

const secondsOf = (ms: number | undefined): number | null => (ms === undefined ? null : ms / 1000);

function objectOf(text: string): Readonly<Record<string, unknown>> {
  const value = jsonOf(text);
  return value !== null && typeof value === 'object' ? { ...value } : {};
}

/** Its own JSON text, checked when it was submitted; a job from elsewhere is not trusted to be. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// ---------------------------------------------------------------- in words

function summaryOf(live: LiveRecord): string[] {
  const { job } = live.record;
  const { state } = job;
  switch (state.tag) {
    case 'pending':
      return live.waiting.length > 0
        ? [`It waits for a node: ${reasonsOf(live)}.`]
        : ['It waits for a node; none has been asked yet.'];
    case 'granted':
      return [
        `Attempt ${job.attempts} was given to ${state.grant.executor}: ${state.grant.why}.`,
        ...(isCancelling(state) ? ['It was cancelled; its processes are being ended.'] : []),
      ];
    case 'revoked':
      return [
        `${state.grant.executor}, which had attempt ${job.attempts}, was given up: ${state.reason}.`,
        'It goes to another node once nothing of that attempt can still run.',
      ];
    case 'final':
      if (live.isSettling)
        return ['It has ended; how is final as soon as a majority of its replicas has it on disk.'];
      return [
        `It ended as ${state.final.status}${state.final.reason ? `: ${state.final.reason}` : '.'}`,
        ...(job.losses > 0 ? [`It lost ${job.losses} executor(s) on the way.`] : []),
      ];
  }
}

/** `label missing (3 nodes), no free slot (1 node)`. */
function reasonsOf(live: LiveRecord): string {
  const counts = new Map<string, number>();
  for (const { reason } of live.waiting) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const phrases = [...counts].map(
    ([reason, n]) => `${reason} (${n} ${n === 1 ? 'node' : 'nodes'})`,
  );
  return phrases.join(', ');
}
