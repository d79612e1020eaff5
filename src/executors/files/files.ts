/** Where files come from and go to that jobs name by their content. */
import type { FileHandle } from 'node:fs/promises';
import type { NodeId } from '../../base/ids.ts';

export interface Files {
  /**
   * A copy of this file at `path`, which must not exist; from whichever node has it.
   * @throws MeshError BLOB_NOT_FOUND, NOT_KNOWABLE, STORAGE_FULL, DISK_FULL, BUSY; the reason of `signal`
   */
  place(wanted: WantedFile): Promise<void>;
  /** Keeps all that an opened file holds. @throws MeshError STORAGE_FULL, DISK_FULL, DATA_FAILED */
  keep(file: FileHandle): Promise<{ readonly sha256: string; readonly bytes: number }>;
}

export interface WantedFile {
  readonly sha256: string;
  readonly bytes: number;
  readonly path: string;
  /** As chmod has it. */
  readonly mode: number;
  /** Nodes that should have it. */
  readonly hints: readonly NodeId[];
  readonly signal: AbortSignal;
}
