/** Questions between nodes. */
import type { Call, OutputStream, RecordQuery } from '../core/calls.ts';
import type { Submission } from '../core/inputs.ts';
import type { JobStatus } from '../core/job.ts';
import { isFinal } from '../core/outcome.ts';
import * as field from './fields.ts';
import {
  MAX_CHUNK_BYTES,
  MAX_LIST_ENTRIES,
  MAX_LISTED_RECORDS,
  MAX_STATUSES,
  MAX_TEXT_CHARS,
} from './limits.ts';
import { parseFence, toFence } from './records.ts';
import { mesh } from './schema.ts';
import { parseSpec, toSpec } from './specs.ts';
import { parseTerminalCall, toTerminalCall } from './terminals.ts';

type Maybe<T> = T | null | undefined;

/** The part of a Question that says what is asked. */
export function toCall(call: Call): mesh.Question.$Properties {
  switch (call.kind) {
    case 'lookUp':
      return { lookUp: { jobId: call.job } };
    case 'list':
      return { list: toQuery(call.query) };
    case 'submit':
      return { submit: toSubmission(call.submission) };
    case 'cancel':
      return { cancel: { jobId: call.job } };
    case 'conflicts':
      return { conflicts: {} };
    case 'checkParams':
      return { checkParams: { taskType: call.taskType, params: [...call.params] } };
    case 'readOutput':
      return {
        readOutput: {
          jobId: call.job,
          fence: toFence(call.fence),
          stream: call.stream === 'stdout' ? 1 : 2,
          offset: call.offset,
          maxBytes: call.maxBytes,
          waitMs: field.wholeMs(call.waitMs),
        },
      };
    case 'readBlob':
      return {
        readBlob: { sha256: call.sha256, offset: call.offset, maxBytes: call.maxBytes },
      };
    case 'keepBlob':
      return { keepBlob: { sha256: call.sha256 } };
    case 'terminal':
      return { terminal: toTerminalCall(call) };
  }
}

/** @throws Malformed */
export function fromCall(wire: mesh.Question.$Properties): Call {
  switch (wire.call) {
    case 'lookUp':
      return { kind: 'lookUp', job: field.jobId(wire.lookUp?.jobId) };
    case 'list':
      return { kind: 'list', query: fromQuery(field.required(wire.list)) };
    case 'submit':
      return { kind: 'submit', submission: fromSubmission(field.required(wire.submit)) };
    case 'cancel':
      return { kind: 'cancel', job: field.jobId(wire.cancel?.jobId) };
    case 'conflicts':
      return { kind: 'conflicts' };
    case 'checkParams': {
      const { taskType, params } = field.required(wire.checkParams);
      return {
        kind: 'checkParams',
        taskType: field.name(taskType),
        params: field.list(params, MAX_LIST_ENTRIES, (text) => field.text(text, MAX_TEXT_CHARS)),
      };
    }
    case 'readOutput': {
      const { jobId, fence, stream, offset, maxBytes, waitMs } = field.required(wire.readOutput);
      return {
        kind: 'readOutput',
        job: field.jobId(jobId),
        fence: parseFence(fence),
        stream: fromStream(stream),
        offset: field.count(offset),
        maxBytes: field.count(maxBytes, MAX_CHUNK_BYTES),
        waitMs: field.count(waitMs),
      };
    }
    case 'readBlob': {
      const { sha256, offset, maxBytes } = field.required(wire.readBlob);
      return {
        kind: 'readBlob',
        sha256: field.sha256(sha256),
        offset: field.count(offset),
        maxBytes: field.count(maxBytes, MAX_CHUNK_BYTES),
      };
    }
    case 'keepBlob':
      return { kind: 'keepBlob', sha256: field.sha256(wire.keepBlob?.sha256) };
    case 'terminal':
      return parseTerminalCall(field.required(wire.terminal));
    default:
      throw new field.Malformed('an unknown question');
  }
}

export const toStatus = (status: JobStatus): mesh.JobStatus => mesh.JobStatus[status];

export function fromStatus(wire: Maybe<mesh.JobStatus>): JobStatus {
  const status = mesh.JobStatus[wire ?? 0] ?? '';
  if (isFinal(status)) return status;
  if (status === 'JOB_PENDING' || status === 'JOB_ASSIGNED' || status === 'JOB_RUNNING') {
    return status;
  }
  throw new field.Malformed('an unknown status');
}

function fromStream(wire: Maybe<mesh.OutputStream>): OutputStream {
  if (wire === 1) return 'stdout';
  if (wire === 2) return 'stderr';
  throw new field.Malformed('an unknown stream');
}

const toQuery = (query: RecordQuery): mesh.ListCall.$Properties => ({
  limit: query.limit,
  beforeCreatedAtMs: query.before ? field.wholeMs(query.before.createdAt) : null,
  beforeJobId: query.before?.job ?? '',
  statuses: (query.statuses ?? []).map(toStatus),
  taskType: query.taskType === undefined ? null : field.sayable(query.taskType),
  nodeId: query.node ?? null,
});

function fromQuery(wire: mesh.ListCall.$Properties): RecordQuery {
  const limit = field.count(wire.limit, MAX_LISTED_RECORDS);
  if (limit === 0) throw new field.Malformed('a list of nothing');
  const createdAt = field.optionalWall(wire.beforeCreatedAtMs);
  const taskType = field.optionalName(wire.taskType);
  const node = field.optionalNodeId(wire.nodeId);
  const statuses = field.list(wire.statuses, MAX_STATUSES, fromStatus);
  return {
    limit,
    ...(createdAt !== undefined && {
      before: { createdAt, job: field.jobId(wire.beforeJobId) },
    }),
    ...(statuses.length > 0 && { statuses }),
    ...(taskType !== undefined && { taskType }),
    ...(node && { node }),
  };
}

const toSubmission = (submission: Submission): mesh.SubmitCall.$Properties => ({
  jobId: submission.job,
  birth: submission.birth,
  job: toSpec(submission.spec),
  contentHash: submission.contentHash,
  isKeyed: submission.isKeyed,
});

const fromSubmission = (wire: mesh.SubmitCall.$Properties): Submission => ({
  job: field.jobId(wire.jobId),
  birth: field.birth(wire.birth),
  spec: parseSpec(wire.job),
  contentHash: field.identifier(wire.contentHash),
  isKeyed: wire.isKeyed === true,
});
