/** What attempts leave beside their streams, and how far they are. */
import {
  type KeptFile,
  type LimitsBy,
  MAX_FILES,
  MAX_PROGRESS_CHARS,
  MAX_RESULT_BYTES,
  type Progress,
  type Receipt,
  type Usage,
} from '../core/job.ts';
import * as field from './fields.ts';
import { MAX_SENTENCE_CHARS } from './limits.ts';
import { mesh } from './schema.ts';

const MAX_PATH_CHARS = 4096;

export const toReceipt = (receipt: Receipt): mesh.Receipt.$Properties => ({
  cpuMs: receipt.usage?.cpuMs === undefined ? null : field.wholeMs(receipt.usage.cpuMs),
  peakMemoryBytes: receipt.usage?.peakMemoryBytes ?? null,
  limitsBy: toLimitsBy(receipt.usage?.limitsBy),
  progress: receipt.progress ? toProgress(receipt.progress) : null,
  result: receipt.result === undefined ? null : field.sayable(receipt.result),
  filesNote: receipt.filesNote === undefined ? null : field.sentence(receipt.filesNote),
  files: (receipt.files ?? []).map(({ path, bytes, sha256 }) => ({
    path: field.sayable(path),
    bytes,
    sha256,
  })),
});

export function parseReceipt(wire: mesh.Receipt.$Properties): Receipt {
  const files = field.list(wire.files, MAX_FILES, parseFile);
  const { progress, result } = wire;
  return {
    ...parseUsage(wire),
    ...(progress && { progress: parseProgress(progress) }),
    ...(typeof result === 'string' && { result: field.text(result, MAX_RESULT_BYTES) }),
    ...(files.length > 0 && { files }),
    ...(typeof wire.filesNote === 'string' && {
      filesNote: field.text(wire.filesNote, MAX_SENTENCE_CHARS),
    }),
  };
}

function parseUsage({ cpuMs, peakMemoryBytes, limitsBy }: mesh.Receipt.$Properties): {
  usage?: Usage;
} {
  const usage = {
    ...field.optionalCount('cpuMs', cpuMs),
    ...field.optionalCount('peakMemoryBytes', peakMemoryBytes),
    ...parseLimitsBy(limitsBy),
  };
  return Object.keys(usage).length > 0 ? { usage } : {};
}

function toLimitsBy(limitsBy: LimitsBy | undefined): mesh.LimitsBy {
  switch (limitsBy) {
    case 'cgroup':
      return mesh.LimitsBy.LIMITS_BY_CGROUP;
    case 'rlimit':
      return mesh.LimitsBy.LIMITS_BY_RLIMIT;
    case undefined:
      return mesh.LimitsBy.LIMITS_BY_UNSET;
  }
}

/** One that a later version adds is not known here. */
function parseLimitsBy(wire: mesh.LimitsBy | null | undefined): { limitsBy?: LimitsBy } {
  if (wire === mesh.LimitsBy.LIMITS_BY_CGROUP) return { limitsBy: 'cgroup' };
  if (wire === mesh.LimitsBy.LIMITS_BY_RLIMIT) return { limitsBy: 'rlimit' };
  return {};
}

export const toProgress = ({ percent, message }: Progress): mesh.Progress.$Properties => ({
  percent,
  message: field.sayable(message.slice(0, MAX_PROGRESS_CHARS)),
});

export function parseProgress(wire: mesh.Progress.$Properties | null | undefined): Progress {
  const { percent, message } = field.required(wire);
  const text = field.text(message, MAX_PROGRESS_CHARS);
  return { percent: field.percentage(percent), message: text };
}

function parseFile({ path, bytes, sha256 }: mesh.KeptFile.$Properties): KeptFile {
  const name = field.text(path, MAX_PATH_CHARS);
  return { path: name, bytes: field.count(bytes), sha256: field.sha256(sha256) };
}
