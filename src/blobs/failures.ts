/** What the disk said, as an error for whoever wanted something kept or read. */
import { MeshError, messageOf } from '../base/errors.ts';

export function toBlobError(thrown: unknown, folder: string): MeshError {
  if (thrown instanceof MeshError) return thrown;
  const { code } = thrown as { code?: string };
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    const sentence = `The disk under ${folder} is full; nothing of the file was kept. Free some space there and try again.`;
    return new MeshError('DISK_FULL', sentence, { cause: thrown });
  }
  const sentence = `Files below ${folder} cannot be read or written (${messageOf(thrown)}). Look at the disk and at who may write there.`;
  return new MeshError('DATA_FAILED', sentence, { cause: thrown });
}

export const isMissing = (thrown: unknown): boolean =>
  (thrown as { code?: string } | undefined)?.code === 'ENOENT';
