/**
 * What a node and a process of its pool say to each other. Commands and answers go over the
 * process's own channel, as JSON; leases go over a pipe that a thread of the process listens to,
 * which hears them also while a handler loops.
 */

/** Number of the descriptor of the guard's pipe: after stdin, stdout, stderr and the channel. */
export const GUARD_DESCRIPTOR = 4;

/** Of what is made for an attempt. */
export const FOLDER_MODE = 0o700;

/** Arguments of the process, as one JSON text. */
export interface ProcessArguments {
  /** Absolute path of the module. */
  readonly file: string;
  /** Of all its memory; over it, it is ended. */
  readonly memoryBytes: number;
}

export interface RunCommand {
  readonly kind: 'run';
  /** Number of this attempt among those of the process, from 1 on. */
  readonly run: number;
  /** Until then it may go on without hearing of its node (`monotonicMs`); undefined: while that lives. */
  readonly untilMs?: number | undefined;
  readonly task: string;
  /** JSON text. */
  readonly params: string;
  readonly job: string;
  readonly attempt: number;
  readonly fence: string;
  readonly folder: string;
  /** It is the process's, and not the attempt's alone. */
  readonly isOwnFolder: boolean;
  /** Paths of the output files, made by the first who appends to them. */
  readonly stdout: string;
  readonly stderr: string;
  /** What is not as in the process's own environment. */
  readonly env: Readonly<Record<string, string>>;
}

export type Command =
  | RunCommand
  | { readonly kind: 'abort'; readonly reason: string }
  | {
      readonly kind: 'check';
      readonly id: number;
      readonly task: string;
      /** JSON texts. */
      readonly params: readonly string[];
    };

export interface TaskHead {
  readonly name: string;
  /** False: it takes any parameters. */
  readonly hasSchema: boolean;
}

export type Report =
  /** Comes first, once. */
  | { readonly kind: 'loaded'; readonly tasks: readonly TaskHead[] }
  | { readonly kind: 'broken'; readonly reason: string }
  /** In order; null: they are as the task demands. */
  | { readonly kind: 'checked'; readonly id: number; readonly problems: readonly (string | null)[] }
  | { readonly kind: 'progress'; readonly percent: number; readonly message: string }
  | Ended
  /** An error that nobody caught; the process ends after it. */
  | { readonly kind: 'crashed'; readonly reason: string };

/** Of an attempt. */
export type Ended = (
  | /** Undefined: it returned nothing. JSON text otherwise. */
  { readonly kind: 'done'; readonly result?: string | undefined }
  | { readonly kind: 'failed'; readonly reason: string }
) & {
  /** No process that it started is there any more. */
  readonly isClean: boolean;
  /** Its folder was the process's own, and is empty and as it was made. */
  readonly isFolderKept: boolean;
};

/** A line to the guard: until when this run may go on (`monotonicMs`). */
export const leaseLine = (run: number, untilMs: number | undefined): string =>
  `${run} ${untilMs ?? 'free'}\n`;

export function parseLeaseLine(line: string): { run: number; untilMs: number | undefined } {
  const [run, until] = line.split(' ');
  return { run: Number(run), untilMs: until === 'free' ? undefined : Number(until) };
}

export const MEMORY_LINE = 'memory';
