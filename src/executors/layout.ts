/** Names on the disk. An attempt's name holds its whole fence: two epochs may share a counter. */
import { join } from 'node:path';
import { asNodeId, isJobId, isNodeId } from '../base/ids.ts';
import type { OutputStream } from '../core/calls.ts';
import type { AttemptRef } from '../core/messages.ts';
import { type Fence, fenceText } from '../core/record.ts';

export interface Folders {
  readonly output: string;
  readonly work: string;
  readonly running: string;
  readonly progress: string;
}

export const foldersIn = (folder: string): Folders => ({
  output: join(folder, 'output'),
  work: join(folder, 'work'),
  running: join(folder, 'running'),
  progress: join(folder, 'progress'),
});

/** Ids come from other nodes: only those that are plain file names get near the disk. */
export const isNameable = ({ job, fence }: AttemptRef): boolean =>
  isJobId(job) &&
  isNodeId(fence.epoch.node) &&
  Number.isSafeInteger(fence.epoch.counter) &&
  Number.isSafeInteger(fence.attempt);

export const outputFolder = (folder: string, { job }: AttemptRef): string => join(folder, job);

export const outputPath = (folder: string, attempt: AttemptRef, stream: OutputStream): string =>
  join(outputFolder(folder, attempt), `${fenceText(attempt.fence)}.${stream}`);

/** Exists when the stream was cut; holds the limit it was cut at. */
export const cutPath = (path: string): string => `${path}.cut`;

/** In the folder of the job; says why nothing is kept of the attempt any more. */
export const removedPath = (folder: string, { fence }: AttemptRef): string =>
  join(folder, `${fenceText(fence)}.removed`);

export const workPath = (folder: string, { job, fence }: AttemptRef): string =>
  join(folder, `${job}.${fenceText(fence)}`);

/** Beside the working folder: what is to be kept of it at the end. */
export const keepListPath = (folder: string, attempt: AttemptRef): string =>
  `${workPath(folder, attempt)}.keep`;

/** Undefined when the text is no fence. */
export function parseFence(text: string): Fence | undefined {
  const match = /^(\d{1,15})\.(node-[0-9a-f]{32})\.(\d{1,15})$/.exec(text);
  if (!match?.[2]) return undefined;
  return {
    epoch: { counter: Number(match[1]), node: asNodeId(match[2]) },
    attempt: Number(match[3]),
  };
}
