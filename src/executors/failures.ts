/**
 * Why an attempt could not be run, as a sentence for the one who submitted it. What is the job's
 * own fault has failed; what this node cannot do now another one may, so the job is given back.
 */
import { messageOf } from '../base/errors.ts';
import type { AttemptEnd, JobSpec } from '../core/job.ts';

export type NotRun = Extract<AttemptEnd, { tag: 'failed' | 'returned' }>;

const failed = (reason: string): NotRun => ({ tag: 'failed', reason });
const returned = (reason: string): NotRun => ({ tag: 'returned', reason });

/** Of the working folder and the output files of an attempt. */
export function folderFailure(thrown: unknown): NotRun {
  const what = 'The output files or the working folder of the attempt could not be made';
  switch (codeOf(thrown)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return returned(`${what}: the disk of the node is full. Free some space there.`);
    case 'EMFILE':
    case 'ENFILE':
      return returned(
        `${what}: the node has as many files open as it may. Lower its slots or raise the limit (ulimit -n).`,
      );
    default:
      return returned(`${what} on the node (${messageOf(thrown)}).`);
  }
}

/** Of the start of a process. */
export function spawnFailure(thrown: unknown, spec: JobSpec): NotRun {
  switch (codeOf(thrown)) {
    case 'E2BIG':
      return failed(
        `The command (${Buffer.byteLength(spec.command)} bytes) and its environment are longer than the node's system can start. Put the script into a file, or the data into one.`,
      );
    case 'ERR_INVALID_ARG_VALUE':
      return failed(
        'The command or a variable of its environment holds a zero byte, which no program can be given.',
      );
    case 'EAGAIN':
    case 'ENOMEM':
      return returned(
        'The node could not start a process: its limit of processes or its memory is used up. Lower its slots.',
      );
    case 'EMFILE':
    case 'ENFILE':
      return returned(
        'The node could not start a process: it has as many files open as it may. Lower its slots or raise the limit (ulimit -n).',
      );
    case 'EACCES':
      return failed(
        'The node could not start the process: it may not enter the working folder or run /bin/sh.',
      );
    default:
      return failed(`The node could not start the process (${messageOf(thrown)}).`);
  }
}

export const NOT_LISTED =
  'The process could not be put on the list of running groups, and so was not started: the disk of the node is full, or its data folder is gone.';

/** @param what as the lines say that a job begins with */
export function unableReason(what: string): string {
  const next = 'Ask for less, or for another node';
  if (what === 'stdin') return `What is to be its standard input could not be opened. ${next}.`;
  if (what === 'cgroup') {
    return `The node could not put the job under its limits: its cgroup took no process. ${next}.`;
  }
  return `The node could not hold the job to its limit ${what}: its system does not take it. ${next}.`;
}

export const NO_FOLDER =
  'The node could not start the process: its working folder is gone, or the node may not enter it.';

export const ENDED_BEFORE_START = 'The attempt was ended before it had started.';

const codeOf = (thrown: unknown): string | undefined =>
  (thrown as { code?: string } | undefined)?.code;
