/** Messages by which nodes agree on the record of a job. */
import type { JobId } from '../base/ids.ts';
import { unreachable } from '../base/unreachable.ts';
import type { Held, RegisterMessage } from '../core/messages.ts';
import type { Epoch } from '../core/record.ts';
import * as field from './fields.ts';
import { fromRecord, toRecord } from './job-records.ts';
import { MAX_LIST_ENTRIES } from './limits.ts';
import { parseAccepted, parseBan, parseEpoch, toAccepted, toBan, toEpoch } from './records.ts';
import type { mesh } from './schema.ts';

type Wire = mesh.Message.$Properties;
type Maybe<T> = T | null | undefined;

export function toRegisterMessage(message: RegisterMessage): Wire {
  switch (message.kind) {
    case 'accept':
    case 'clash':
      return { [message.kind]: { record: toRecord(message.record) } };
    case 'accepted':
      return {
        accepted: {
          ...toJobEpoch(message),
          version: message.version,
          yesAgoMs: toAge(message.yesAgoMs),
        },
      };
    case 'refused':
      return {
        refused: {
          ...toJobEpoch(message),
          promised: toEpoch(message.promised),
          birth: message.birth ?? null,
          isFinal: message.isFinal,
        },
      };
    case 'prepare':
      return {
        prepare: {
          ...toJobEpoch(message),
          ifAbsent: message.ifAbsent,
          birth: message.birth ?? null,
        },
      };
    case 'promise':
      return {
        promise: {
          ...toJobEpoch(message),
          yesAgoMs: toAge(message.yesAgoMs),
          record: message.record ? toRecord(message.record) : null,
        },
      };
    case 'settled': {
      const { version, isEverywhere } = message;
      return { settled: { ...toJobEpoch(message), version, isEverywhere } };
    }
    default:
      return toParting(message);
  }
}

type Parting = 'retire' | 'handOver' | 'holding' | 'birthLost' | 'bans';

/** What nodes say when they let go of a record, hand it over, or meet again. */
function toParting(message: Extract<RegisterMessage, { kind: Parting }>): Wire {
  switch (message.kind) {
    case 'retire':
      return {
        retire: {
          ...toJobEpoch(message),
          birth: message.birth ?? null,
          version: message.version ?? null,
          isSettled: message.isSettled ?? null,
        },
      };
    case 'handOver':
      return {
        handOver: {
          ...toJobEpoch(message),
          birth: message.birth,
          idleVersion: message.idleVersion ?? null,
        },
      };
    case 'holding':
      return { holding: { held: message.held.map(toHeld) } };
    case 'birthLost':
      return { birthLost: { jobId: message.job, birth: message.birth } };
    case 'bans':
      return { bans: { bans: message.bans.map(toBan) } };
    default:
      return unreachable(message);
  }
}

/** @throws Malformed */
export function fromRegisterMessage(wire: Wire): RegisterMessage {
  switch (wire.kind) {
    case 'accept':
    case 'clash':
      return { kind: wire.kind, record: fromRecord(wire[wire.kind]?.record) };
    case 'accepted': {
      const { version, yesAgoMs, ...job } = field.required(wire.accepted);
      const yes = parseAge(yesAgoMs);
      return { kind: 'accepted', ...parseJobEpoch(job), version: field.count(version), ...yes };
    }
    case 'refused':
      return fromRefused(field.required(wire.refused));
    case 'prepare': {
      const { ifAbsent, birth, ...job } = field.required(wire.prepare);
      const of = field.optionalBirth(birth);
      return { kind: 'prepare', ...parseJobEpoch(job), ifAbsent: ifAbsent === true, ...of };
    }
    case 'promise': {
      const { yesAgoMs, record, ...job } = field.required(wire.promise);
      const kept = record ? { record: fromRecord(record) } : {};
      return { kind: 'promise', ...parseJobEpoch(job), ...parseAge(yesAgoMs), ...kept };
    }
    case 'settled': {
      const { version, isEverywhere, ...job } = field.required(wire.settled);
      const value = { ...parseJobEpoch(job), version: field.count(version) };
      return { kind: 'settled', ...value, isEverywhere: isEverywhere === true };
    }
    default:
      return fromParting(wire);
  }
}

function fromParting(wire: Wire): RegisterMessage {
  switch (wire.kind) {
    case 'retire': {
      const { birth, version, isSettled, ...job } = field.required(wire.retire);
      return {
        kind: 'retire',
        ...parseJobEpoch(job),
        ...field.optionalBirth(birth),
        ...(version !== null && version !== undefined && { version: field.count(version) }),
        ...(isSettled && { isSettled }),
      };
    }
    case 'handOver': {
      const { birth, idleVersion, ...job } = field.required(wire.handOver);
      const version = field.count(idleVersion);
      return {
        kind: 'handOver',
        ...parseJobEpoch(job),
        birth: field.birth(birth),
        ...(version > 0 && { idleVersion: version }),
      };
    }
    case 'holding':
      return { kind: 'holding', held: field.list(wire.holding?.held, MAX_LIST_ENTRIES, fromHeld) };
    case 'birthLost': {
      const { jobId, birth } = field.required(wire.birthLost);
      return { kind: 'birthLost', job: field.jobId(jobId), birth: field.birth(birth) };
    }
    case 'bans':
      return { kind: 'bans', bans: field.list(wire.bans?.bans, MAX_LIST_ENTRIES, parseBan) };
    default:
      throw new field.Malformed('an unknown kind of message');
  }
}

function fromRefused(wire: mesh.Refused.$Properties): RegisterMessage {
  const { promised, birth, isFinal, ...job } = wire;
  return {
    kind: 'refused',
    ...parseJobEpoch(job),
    promised: parseEpoch(promised),
    ...field.optionalBirth(birth),
    isFinal: isFinal === true,
  };
}

interface JobEpoch {
  readonly job: JobId;
  readonly epoch: Epoch;
}

type WireJobEpoch = Pick<mesh.Settled.$Properties, 'jobId' | 'epoch'>;

const toJobEpoch = ({ job, epoch }: JobEpoch): WireJobEpoch => ({
  jobId: job,
  epoch: toEpoch(epoch),
});

const parseJobEpoch = (wire: WireJobEpoch): JobEpoch => ({
  job: field.jobId(wire.jobId),
  epoch: parseEpoch(wire.epoch),
});

const toHeld = ({ job, birth, accepted }: Held): mesh.Held.$Properties => ({
  jobId: job,
  birth,
  accepted: toAccepted(accepted),
});

const fromHeld = (wire: mesh.Held.$Properties): Held => ({
  job: field.jobId(wire.jobId),
  birth: field.birth(wire.birth),
  accepted: parseAccepted(wire.accepted),
});

/** Rounded down: a yes that seems younger than it is makes others wait longer, never shorter. */
const toAge = (ageMs: number | undefined): number | null =>
  ageMs === undefined ? null : Math.max(0, Math.floor(ageMs));

const parseAge = (wire: Maybe<number>): { yesAgoMs?: number } =>
  wire === null || wire === undefined ? {} : { yesAgoMs: field.count(wire) };
