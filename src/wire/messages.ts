/** Messages between nodes, variant by variant. */
import { unreachable } from '../base/unreachable.ts';
import type { Message, RefusalReason } from '../core/messages.ts';
import * as field from './fields.ts';
import { fromGrant, toGrant } from './grants.ts';
import { MAX_ATTEMPT_REFS, MAX_MEMBER_ENTRIES, MAX_SENTENCE_CHARS } from './limits.ts';
import { parseLoad, parseMemberEntry, toLoad, toMemberEntry } from './nodes.ts';
import { fromOutcome, toOutcome } from './outcomes.ts';
import { parseAttemptRef, parseFence, toAttemptRef, toFence } from './records.ts';
import type { mesh } from './schema.ts';
import { parseNeeds, toNeeds } from './specs.ts';

type Wire = mesh.Message.$Properties;

const REFUSALS: Readonly<Record<RefusalReason, mesh.RefusalReason>> = {
  'no free slot': 1,
  draining: 2,
  'disk takes no writes': 3,
  'task type not served': 4,
  'label missing': 5,
  'capability missing': 6,
  'pinned to another node': 7,
  suspect: 8,
  dead: 9,
  left: 10,
  'just refused': 11,
};
const REASONS = new Map(
  Object.entries(REFUSALS).map(([reason, number]) => [number, reason as RefusalReason]),
);

export function toMessage(message: Message): Wire {
  switch (message.kind) {
    case 'ping':
      return { ping: { serial: message.serial, load: toLoad(message.load) } };
    case 'pong':
      return { pong: { serial: message.serial, load: toLoad(message.load) } };
    case 'probe':
      return { probe: { nodeId: message.target } };
    case 'heard':
      return { heard: { nodeId: message.target, agoMs: field.wholeMs(message.agoMs) } };
    case 'members':
      return { members: { members: message.members.map(toMemberEntry) } };
    case 'goodbye':
      return { goodbye: {} };
    default:
      return toJobMessage(message);
  }
}

function toJobMessage(message: Exclude<Message, { kind: MembershipKind }>): Wire {
  switch (message.kind) {
    case 'offer':
      return {
        offer: {
          jobId: message.job,
          taskType: field.sayable(message.taskType),
          needs: toNeeds(message.needs),
        },
      };
    case 'claim':
      return {
        claim: { nonce: message.nonce, jobId: message.job ?? null, load: toLoad(message.load) },
      };
    case 'refuse':
      return {
        refuse: {
          jobId: message.job,
          reason: REFUSALS[message.reason],
          load: toLoad(message.load),
        },
      };
    case 'decline':
      return { decline: { nonce: message.nonce } };
    case 'grant':
      return { grant: toGrant(message.grant) };
    default:
      return toAttemptMessage(message);
  }
}

function toAttemptMessage(message: Extract<Message, { kind: AttemptKind }>): Wire {
  switch (message.kind) {
    case 'started': {
      const startedAtMs = field.wholeMs(message.startedAt);
      return { started: { jobId: message.job, fence: toFence(message.fence), startedAtMs } };
    }
    case 'reject': {
      const reason = field.sentence(message.reason);
      return { reject: { jobId: message.job, fence: toFence(message.fence), reason } };
    }
    case 'renew':
      return { renew: { sentAt: message.sentAt, attempts: message.attempts.map(toAttemptRef) } };
    case 'renewed':
      return {
        renewed: {
          sentAt: message.sentAt,
          granted: message.granted.map(toAttemptRef),
          revoked: message.revoked.map(toAttemptRef),
        },
      };
    case 'result':
      return { result: { jobId: message.job, outcome: toOutcome(message.outcome) } };
    case 'acknowledge':
      return { acknowledge: toAttemptRef(message) };
    case 'cancel':
      return { cancel: toAttemptRef(message) };
    default:
      return unreachable(message);
  }
}

type MembershipKind = 'ping' | 'pong' | 'probe' | 'heard' | 'members' | 'goodbye';
type AttemptKind = 'started' | 'reject' | 'renew' | 'renewed' | 'result' | 'acknowledge' | 'cancel';

/** @throws Malformed, also for a variant that this version does not know */
export function fromMessage(wire: Wire): Message {
  switch (wire.kind) {
    case 'ping':
    case 'pong': {
      const { serial, load } = field.required(wire[wire.kind]);
      return { kind: wire.kind, serial: field.count(serial), load: parseLoad(load) };
    }
    case 'probe':
      return { kind: 'probe', target: field.nodeId(wire.probe?.nodeId) };
    case 'heard': {
      const { nodeId, agoMs } = field.required(wire.heard);
      return { kind: 'heard', target: field.nodeId(nodeId), agoMs: field.count(agoMs) };
    }
    case 'members': {
      const members = field.list(wire.members?.members, MAX_MEMBER_ENTRIES, parseMemberEntry);
      return { kind: 'members', members };
    }
    case 'goodbye':
      return { kind: 'goodbye' };
    default:
      return fromJobMessage(wire);
  }
}

function fromJobMessage(wire: Wire): Message {
  switch (wire.kind) {
    case 'offer': {
      const { jobId, taskType, needs } = field.required(wire.offer);
      return {
        kind: 'offer',
        job: field.jobId(jobId),
        taskType: field.name(taskType),
        needs: parseNeeds(needs),
      };
    }
    case 'claim': {
      const { nonce, jobId, load } = field.required(wire.claim);
      const job = typeof jobId === 'string' ? { job: field.jobId(jobId) } : {};
      return { kind: 'claim', nonce: field.nonce(nonce), ...job, load: parseLoad(load) };
    }
    case 'refuse': {
      const { jobId, reason, load } = field.required(wire.refuse);
      return {
        kind: 'refuse',
        job: field.jobId(jobId),
        reason: field.required(REASONS.get(reason ?? 0)),
        load: parseLoad(load),
      };
    }
    case 'decline':
      return { kind: 'decline', nonce: field.nonce(wire.decline?.nonce) };
    case 'grant':
      return { kind: 'grant', grant: fromGrant(wire.grant) };
    default:
      return fromAttemptMessage(wire);
  }
}

function fromAttemptMessage(wire: Wire): Message {
  switch (wire.kind) {
    case 'started': {
      const { startedAtMs, ...ref } = field.required(wire.started);
      return { kind: 'started', ...parseAttemptRef(ref), startedAt: field.integer(startedAtMs) };
    }
    case 'reject': {
      const { jobId, fence, reason } = field.required(wire.reject);
      return {
        kind: 'reject',
        job: field.jobId(jobId),
        fence: parseFence(fence),
        reason: field.text(reason, MAX_SENTENCE_CHARS),
      };
    }
    case 'renew': {
      const { sentAt, attempts } = field.required(wire.renew);
      return { kind: 'renew', sentAt: finite(sentAt), attempts: refs(attempts) };
    }
    case 'renewed': {
      const { sentAt, granted, revoked } = field.required(wire.renewed);
      return {
        kind: 'renewed',
        sentAt: finite(sentAt),
        granted: refs(granted),
        revoked: refs(revoked),
      };
    }
    case 'result': {
      const { jobId, outcome } = field.required(wire.result);
      return { kind: 'result', job: field.jobId(jobId), outcome: fromOutcome(outcome) };
    }
    case 'acknowledge':
    case 'cancel':
      return { kind: wire.kind, ...parseAttemptRef(field.required(wire[wire.kind])) };
    default:
      throw new field.Malformed('an unknown kind of message');
  }
}

const refs = (wire: readonly mesh.AttemptRef.$Properties[] | null | undefined) =>
  field.list(wire, MAX_ATTEMPT_REFS, parseAttemptRef);

function finite(value: number | null | undefined): number {
  const number = value ?? 0;
  if (!Number.isFinite(number)) throw new field.Malformed('not a finite number');
  // Minus zero would be echoed as zero.
  return number + 0;
}
