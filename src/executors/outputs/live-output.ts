/** The two output files of an attempt that is not over yet, and who waits for more of them. */
import { mkdir } from 'node:fs/promises';
import type { OutputStream } from '../../core/calls.ts';
import { NO_OUTPUT, type OutputTail } from '../../core/job.ts';
import { GROWTHS, type Growth, OutputFile } from './output-file.ts';

export interface LiveOutputParts {
  /** Of the job; made when missing. */
  readonly folder: string;
  readonly stdoutPath: string;
  readonly stderrPath: string;
  readonly limitBytes: number;
  /** The files have their final form, or go on without this node. */
  readonly onClosed: (bytes: number) => void;
}

export interface Tails {
  readonly stdout: OutputTail;
  readonly stderr: OutputTail;
}

type MakeFile = (path: string) => Promise<OutputFile>;

export class LiveOutput {
  private readonly parts: LiveOutputParts;
  private readonly files: Partial<Record<OutputStream, OutputFile>> = {};
  private readonly waiting = new Set<() => void>();
  private isClosing = false;

  constructor(parts: LiveOutputParts) {
    this.parts = parts;
  }

  /** Rejects with what the file system says; `close` is due then, too. */
  open(): Promise<Record<OutputStream, OutputFile>> {
    return this.openBoth((path) => OutputFile.create(path, this.parts.limitBytes));
  }

  /** Of an attempt that an earlier life started: what is there stays. */
  async reopen(): Promise<void> {
    await this.openBoth((path) => OutputFile.reopen(path, this.parts.limitBytes));
  }

  private async openBoth(make: MakeFile): Promise<Record<OutputStream, OutputFile>> {
    const { folder, stdoutPath, stderrPath } = this.parts;
    for (let tries = 3; ; tries--) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const opened = await Promise.allSettled([
        this.openOne('stdout', () => make(stdoutPath)),
        this.openOne('stderr', () => make(stderrPath)),
      ]);
      const failed = opened.find((result) => result.status === 'rejected');
      const { stdout, stderr } = this.files;
      if (stdout && stderr) return { stdout, stderr };
      // Retention may remove a job's empty folder in just this moment.
      if (tries === 1 || failed?.reason.code !== 'ENOENT') throw failed?.reason;
    }
  }

  private async openOne(stream: OutputStream, make: () => Promise<OutputFile>): Promise<void> {
    this.files[stream] ??= await make();
  }

  isCut(stream: OutputStream): boolean {
    return this.files[stream]?.isCut ?? false;
  }

  /** Holds both files to the limit; says what the busier one does. */
  async look(): Promise<Growth> {
    if (this.isClosing) return 'rests';
    const looks = Object.values(this.files).map((file) =>
      // The disk is full or broken: the job is told by its own writes, and the next look comes.
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
    this.letGo(stdout.totalBytes + stderr.totalBytes);
    return { stdout, stderr };
  }

  /** The attempt goes on without this node; the files stay as they are. Never rejects. */
  async leave(): Promise<void> {
    this.isClosing = true;
    const files = Object.values(this.files);
    await Promise.all(files.map((file) => file.leave().catch(() => {})));
    this.letGo(0);
  }

  private letGo(bytes: number): void {
    this.parts.onClosed(bytes);
    for (const settle of this.waiting) settle();
  }
}

async function closeFile(file: OutputFile | undefined): Promise<OutputTail> {
  // A disk that broke under the file leaves a tail that is empty.
  return (await file?.close().catch(() => undefined)) ?? NO_OUTPUT;
}
