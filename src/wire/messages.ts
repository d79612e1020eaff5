/** Messages between nodes, variant by variant. */
import type { JobMessage, Message, RefusalReason } from '../core/messages.ts';
import { fromAttemptMessage, toAttemptMessage } from './attempt-messages.ts';
import * as field from './fields.ts';
import { fromGrant, toGrant } from './grants.ts';
import { MAX_MEMBER_ENTRIES } from './limits.ts';
import {
  parseFacts,
  parseLoad,
  parseMemberEntry,
  toFacts,
  toLoad,
  toMemberEntry,
} from './nodes.ts';
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
      return {
        pong: { serial: message.serial, load: toLoad(message.load), marks: message.marks },
      };
    case 'probe':
      return { probe: { nodeId: message.target } };
    case 'heard':
      return { heard: { nodeId: message.target, agoMs: field.wholeMs(message.agoMs) } };
    case 'members':
      return { members: { members: message.members.map(toMemberEntry) } };
    case 'facts':
      return { facts: toFacts(message.facts) };
    case 'goodbye':
      return { goodbye: { isBack: message.isBack } };
    case 'banned':
      return { banned: {} };
    default:
      return toJobMessage(message);
  }
}

function toJobMessage(message: JobMessage): Wire {
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

/** @throws Malformed, also for a variant that this version does not know */
export function fromMessage(wire: Wire): Message {
  switch (wire.kind) {
    case 'ping': {
      const { serial, load } = field.required(wire.ping);
      return { kind: 'ping', serial: field.count(serial), load: parseLoad(load) };
    }
    case 'pong': {
      const { serial, load, marks } = field.required(wire.pong);
      const counts = { serial: field.count(serial), marks: field.count(marks) };
      return { kind: 'pong', ...counts, load: parseLoad(load) };
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
    case 'facts':
      return { kind: 'facts', facts: parseFacts(wire.facts) };
    case 'goodbye':
      return { kind: 'goodbye', isBack: wire.goodbye?.isBack === true };
    case 'banned':
      return { kind: 'banned' };
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
