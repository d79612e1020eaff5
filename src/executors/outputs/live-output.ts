/** The two output files of an attempt that is not over yet, and who waits for more of them. */
import { mkdir } from 'node:fs/promises';
import type { JobId } from '../../base/ids.ts';
import type { OutputStream } from '../../core/calls.ts';
import { NO_OUTPUT, type OutputTail } from '../../core/job.ts';
import { GROWTHS, type Growth, OutputFile } from './output-file.ts';

export interface LiveOutputParts {
  readonly job: JobId;
  /** Of the job; made when missing. */
  readonly folder: string;
  readonly stdoutPath: string;
  readonly stderrPath: string;
  readonly limitBytes: number;
  /** The files have their final form. */
  readonly onClosed: (bytes: number) => void;
}

export interface Tails {
  readonly stdout: OutputTail;
  readonly stderr: OutputTail;
}

export class LiveOutput {
  private readonly parts: LiveOutputParts;
  private readonly files: Readonly<Record<OutputStream, OutputFile>>;
  private readonly waiting = new Set<() => void>();
  private isClosing = false;
  /** Its node goes, and it does not. */
  isLeft = false;

  get job(): JobId {
    return this.parts.job;
  }

  constructor(parts: LiveOutputParts) {
    const { stdoutPath, stderrPath, limitBytes } = parts;
    this.parts = parts;
    this.files = {
      stdout: new OutputFile(stdoutPath, limitBytes),
      stderr: new OutputFile(stderrPath, limitBytes),
    };
  }

  paths(): Readonly<Record<OutputStream, string>> {
    return { stdout: this.files.stdout.path, stderr: this.files.stderr.path };
  }

  /** From then on the attempt may print. Rejects with what the file system says. */
  async open(): Promise<Readonly<Record<OutputStream, string>>> {
    await mkdir(this.parts.folder, { recursive: true, mode: 0o700 });
    for (const file of Object.values(this.files)) file.clear();
    return this.paths();
  }

  /** Of an attempt that an earlier life started: what is there stays. */
  async reopen(): Promise<void> {
    for (const file of Object.values(this.files)) await file.resume();
  }

  isCut(stream: OutputStream): boolean {
    return this.files[stream].isCut;
  }

  /** Holds both files to the limit; says what the busier one does. */
  async look(): Promise<Growth> {
    if (this.isClosing) return 'rests';
    const looks = Object.values(this.files).map((file) =>
      // It has not begun, or the disk is full: the job is told by its own writes, and looks go on.
      file.look().catch(() => 'grows' as const),
    );
    const seen = await Promise.all(looks);
    return GROWTHS.find((growth) => seen.includes(growth)) ?? 'rests';
  }

  /** Settles when the attempt is over, or at the end of the pause. */
  change(pauseMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        this.waiting.delete(settle);
        signal?.removeEventListener('abort', settle);
        resolve();
      };
      const timer = setTimeout(settle, pauseMs);
      this.waiting.add(settle);
      signal?.addEventListener('abort', settle, { once: true });
    });
  }

  /** After the last write of the attempt. Never rejects: how a job ended is known without it. */
  async close(): Promise<Tails> {
    this.isClosing = true;
    const [stdout, stderr] = await Promise.all([
      closeFile(this.files.stdout),
      closeFile(this.files.stderr),
    ]);
    this.parts.onClosed(stdout.totalBytes + stderr.totalBytes);
    this.wakeReaders();
    return { stdout, stderr };
  }

  /**
   * The attempt goes on without this node; the files stay as they are. What is read until the node
   * is gone is no end of it. Never rejects.
   */
  async leave(): Promise<void> {
    this.isClosing = true;
    this.isLeft = true;
    const files = Object.values(this.files);
    await Promise.all(files.map((file) => file.leave().catch(() => {})));
    this.wakeReaders();
  }

  private wakeReaders(): void {
    for (const settle of this.waiting) settle();
  }
}

/** A disk that broke under the file leaves a tail that is empty. */
const closeFile = (file: OutputFile): Promise<OutputTail> => file.close().catch(() => NO_OUTPUT);
