/** Messages about an attempt that was granted. */
import type { JobMessage, LeaseRef, Message, MovedSets } from '../core/messages.ts';
import * as field from './fields.ts';
import { MAX_LIST_ENTRIES, MAX_SENTENCE_CHARS } from './limits.ts';
import { fromOutcome, toOutcome } from './outcomes.ts';
import { parseProgress, toProgress } from './receipts.ts';
import {
  parseAccepted,
  parseAttemptRef,
  parseEpoch,
  parseSets,
  toAccepted,
  toAttemptRef,
  toEpoch,
  toSets,
} from './records.ts';
import { fromRegisterMessage, toRegisterMessage } from './register-messages.ts';
import type { mesh } from './schema.ts';

type Wire = mesh.Message.$Properties;
type Maybe<T> = T | null | undefined;

type BeforeGrant = 'offer' | 'claim' | 'refuse' | 'decline' | 'grant';

export function toAttemptMessage(message: Exclude<JobMessage, { kind: BeforeGrant }>): Wire {
  switch (message.kind) {
    case 'started':
      return {
        started: { ...toAttemptRef(message), startedAtMs: field.wholeMs(message.startedAt) },
      };
    case 'progress':
      return {
        progress: { ...toAttemptRef(message), progress: toProgress(message.progress) },
      };
    case 'reject':
      return { reject: { ...toAttemptRef(message), reason: field.sentence(message.reason) } };
    case 'renew':
      return { renew: { sentAt: message.sentAt, attempts: message.attempts.map(toLeaseRef) } };
    case 'renewed':
      return {
        renewed: {
          sentAt: message.sentAt,
          granted: message.granted.map(toAttemptRef),
          revoked: message.revoked.map(toAttemptRef),
          moved: message.moved.map(toMovedSets),
        },
      };
    case 'result':
      return { result: { jobId: message.job, outcome: toOutcome(message.outcome) } };
    case 'acknowledge':
    case 'gone':
      return { [message.kind]: toAttemptRef(message) };
    case 'cancel':
      return { cancel: { ...toAttemptRef(message), epoch: toEpoch(message.epoch) } };
    case 'whoHas':
      return {
        whoHas: {
          jobId: message.job,
          epoch: toEpoch(message.epoch),
          birth: message.birth ?? null,
        },
      };
    case 'have':
      return { have: { ...toAttemptRef(message), nonce: message.nonce } };
    case 'adopt':
      return {
        adopt: {
          ...toAttemptRef(message),
          epoch: toEpoch(message.epoch),
          sets: toSets(message.sets),
        },
      };
    default:
      return toRegisterMessage(message);
  }
}

/** @throws Malformed */
export function fromAttemptMessage(wire: Wire): Message {
  switch (wire.kind) {
    case 'started': {
      const { startedAtMs, ...ref } = field.required(wire.started);
      return { kind: 'started', ...parseAttemptRef(ref), startedAt: field.integer(startedAtMs) };
    }
    case 'progress': {
      const { progress, ...ref } = field.required(wire.progress);
      return { kind: 'progress', ...parseAttemptRef(ref), progress: parseProgress(progress) };
    }
    case 'reject': {
      const { reason, ...ref } = field.required(wire.reject);
      const sentence = field.text(reason, MAX_SENTENCE_CHARS);
      return { kind: 'reject', ...parseAttemptRef(ref), reason: sentence };
    }
    case 'renew':
    case 'renewed':
      return fromLeaseMessage(wire);
    case 'result': {
      const { jobId, outcome } = field.required(wire.result);
      return { kind: 'result', job: field.jobId(jobId), outcome: fromOutcome(outcome) };
    }
    case 'acknowledge':
    case 'gone':
      return { kind: wire.kind, ...parseAttemptRef(field.required(wire[wire.kind])) };
    case 'cancel': {
      const { epoch, ...ref } = field.required(wire.cancel);
      return { kind: 'cancel', ...parseAttemptRef(ref), epoch: parseEpoch(epoch) };
    }
    case 'whoHas': {
      const { jobId, epoch, birth } = field.required(wire.whoHas);
      const of = { epoch: parseEpoch(epoch), ...field.optionalBirth(birth) };
      return { kind: 'whoHas', job: field.jobId(jobId), ...of };
    }
    case 'have': {
      const { nonce, ...ref } = field.required(wire.have);
      return { kind: 'have', ...parseAttemptRef(ref), nonce: field.nonce(nonce) };
    }
    case 'adopt': {
      const { epoch, sets, ...ref } = field.required(wire.adopt);
      const of = { epoch: parseEpoch(epoch), sets: parseSets(sets) };
      return { kind: 'adopt', ...parseAttemptRef(ref), ...of };
    }
    default:
      return fromRegisterMessage(wire);
  }
}

function fromLeaseMessage(wire: Wire): Message {
  if (wire.kind === 'renew') {
    const { sentAt, attempts } = field.required(wire.renew);
    const refs = field.list(attempts, MAX_LIST_ENTRIES, parseLeaseRef);
    return { kind: 'renew', sentAt: finite(sentAt), attempts: refs };
  }
  const { sentAt, granted, revoked, moved } = field.required(wire.renewed);
  return {
    kind: 'renewed',
    sentAt: finite(sentAt),
    granted: field.list(granted, MAX_LIST_ENTRIES, parseAttemptRef),
    revoked: field.list(revoked, MAX_LIST_ENTRIES, parseAttemptRef),
    moved: field.list(moved, MAX_LIST_ENTRIES, parseMovedSets),
  };
}

const MAX_UINT32 = 0xffff_ffff;

const toLeaseRef = (ref: LeaseRef): mesh.LeaseRef.$Properties => ({
  ...toAttemptRef(ref),
  epoch: toEpoch(ref.epoch),
  sets: ref.sets,
  birth: ref.birth ?? null,
});

const parseLeaseRef = ({ epoch, sets, birth, ...ref }: mesh.LeaseRef.$Properties): LeaseRef => ({
  ...parseAttemptRef(ref),
  epoch: parseEpoch(epoch),
  ...field.optionalBirth(birth),
  sets: field.count(sets, MAX_UINT32),
});

const toMovedSets = (moved: MovedSets): mesh.MovedSets.$Properties => ({
  ...toAttemptRef(moved),
  accepted: toAccepted(moved.accepted),
  sets: toSets(moved.sets),
});

const parseMovedSets = ({ accepted, sets, ...ref }: mesh.MovedSets.$Properties): MovedSets => ({
  ...parseAttemptRef(ref),
  accepted: parseAccepted(accepted),
  sets: parseSets(sets),
});

function finite(value: Maybe<number>): number {
  const number = value ?? 0;
  if (!Number.isFinite(number)) throw new field.Malformed('not a finite number');
  // Minus zero would be echoed as zero.
  return number + 0;
}
