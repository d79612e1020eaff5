/** How far a job is, in words. */
import { visible } from './terminal.ts';

export const percentText = (progress: number | null): string =>
  progress === null ? '-' : `${Math.floor(progress)}%`;

/** `40 % copying`. */
export const progressText = ({
  progress,
  progress_message,
}: {
  readonly progress: number | null;
  readonly progress_message: string | null;
}): string =>
  progress === null ? '' : visible(`${Math.floor(progress)} % ${progress_message ?? ''}`.trim());
