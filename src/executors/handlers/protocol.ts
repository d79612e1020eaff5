/**
 * What a node and a process of its pool say to each other. Commands and answers go over the
 * process's own channel, as JSON; leases go over a pipe that a thread of the process listens to,
 * which hears them also while a handler loops.
 */

/** Number of the descriptor of the guard's pipe: after stdin, stdout, stderr and the channel. */
export const GUARD_DESCRIPTOR = 4;

/** Arguments of the process, as one JSON text. */
export interface ProcessArguments {
  /** Absolute path of the module. */
  readonly file: string;
  /** Of all its memory; over it, it is ended. */
  readonly memoryBytes: number;
}

export interface RunCommand {
  readonly kind: 'run';
  readonly task: string;
  /** JSON text. */
  readonly params: string;
  readonly job: string;
  readonly attempt: number;
  readonly fence: string;
  readonly folder: string;
  /** Paths of the output files, to be appended to. */
  readonly stdout: string;
  readonly stderr: string;
  readonly env: Readonly<Record<string, string>>;
}

export type Command =
  | RunCommand
  | { readonly kind: 'abort'; readonly reason: string }
  | {
      readonly kind: 'check';
      readonly id: number;
      readonly task: string;
      /** JSON text. */
      readonly params: string;
    };

export type Report =
  /** Comes first, once. */
  | { readonly kind: 'loaded'; readonly tasks: readonly string[] }
  | { readonly kind: 'broken'; readonly reason: string }
  /** Undefined: they are as the task demands. */
  | { readonly kind: 'checked'; readonly id: number; readonly problem?: string | undefined }
  | { readonly kind: 'progress'; readonly percent: number; readonly message: string }
  /** Undefined: it returned nothing. JSON text otherwise. */
  | { readonly kind: 'done'; readonly result?: string | undefined; readonly isClean: boolean }
  | { readonly kind: 'failed'; readonly reason: string; readonly isClean: boolean }
  /** An error that nobody caught; the process ends after it. */
  | { readonly kind: 'crashed'; readonly reason: string };

/** Lines to the guard. */
export const leaseLine = (leftMs: number | undefined): string =>
  leftMs === undefined ? 'free\n' : `lease ${Math.max(0, Math.round(leftMs))}\n`;

export const MEMORY_LINE = 'memory';
