/**
 * The files of one attempt. What is to be kept of it is noted beside its working folder before it
 * starts: an attempt that outlives its node, or ends while the node is away, leaves its files to the
 * node's next life, which knows nothing of its job any more.
 */
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import * as z from 'zod';
import type { AttemptOrder } from '../../core/effects.ts';
import type { Receipt } from '../../core/job.ts';
import type { AttemptRef } from '../../core/messages.ts';
import { misplacedFiles, type RunOptions } from '../../run/run-options.ts';
import type { NotRun } from '../failures.ts';
import { keepListPath } from '../layout.ts';
import type { WorkingFolders } from '../working-folder.ts';
import type { Files } from './files.ts';
import { placeInputs } from './inputs.ts';
import { keepOutputs } from './outputs.ts';

const keepList = z.object({ folder: z.string(), patterns: z.array(z.string()) });

export class AttemptFiles {
  private readonly files: Files | undefined;
  private readonly listPath: string;
  /** Undefined: an earlier life began the attempt, and the disk is to be asked. */
  private hasList: boolean | undefined;
  private readonly ending = new AbortController();

  constructor(
    ref: AttemptRef,
    parts: { files: Files | undefined; workingFolders: WorkingFolders },
  ) {
    this.files = parts.files;
    this.listPath = keepListPath(parts.workingFolders.folder, ref);
  }

  /** Before the start. Undefined: it may start. Rejects with what the disk says. */
  async prepare(
    { grant }: AttemptOrder,
    run: RunOptions,
    { folder, signal }: { folder: string; signal: AbortSignal },
  ): Promise<NotRun | undefined> {
    const { files } = this;
    const misplaced = misplacedFiles(run, grant.spec.workingDir);
    if (misplaced !== undefined) return { tag: 'failed', reason: `${misplaced}.` };
    this.hasList = run.outputs !== undefined && run.outputs.length > 0;
    if (run.outputs && this.hasList) {
      const list: z.output<typeof keepList> = { folder, patterns: [...run.outputs] };
      await writeFile(this.listPath, JSON.stringify(list), { mode: 0o600 });
    }
    const hints = [grant.fence.epoch.node, ...grant.rs, ...grant.oldRs];
    return placeInputs(run.inputs ?? [], { folder, files, hints, signal });
  }

  /** After the end. Undefined: nothing was to be kept. Never rejects. @param onBegin before the first is looked for */
  async keep(onBegin: () => void): Promise<Receipt | undefined> {
    const { files } = this;
    const list = await this.readList();
    if (!list || !files) return undefined;
    onBegin();
    return keepOutputs(list.patterns, { folder: list.folder, files, signal: this.ending.signal });
  }

  private async readList(): Promise<z.output<typeof keepList> | undefined> {
    this.hasList ??= existsSync(this.listPath);
    if (!this.hasList) return undefined;
    try {
      return keepList.parse(JSON.parse(await readFile(this.listPath, 'utf8')));
    } catch {
      // Nobody could write it whole.
      return undefined;
    }
  }

  /** What is not kept by now is not kept. */
  stop(): void {
    this.ending.abort();
  }

  /** They have been kept. */
  async close(): Promise<void> {
    if (!this.hasList) return;
    await rm(this.listPath, { force: true }).catch(() => {});
  }
}
