/**
 * What a comparison is made of. A row is a question ("how many durable jobs a second?"), its
 * contestants are the mesh and what people would use instead, and its lines are the figures that
 * are compared. Each contestant lives in a process of its own with all that it starts below it, so
 * that its processor time and memory are those of one process tree and no heap is shared. It is
 * opened once; its runs are then called in turn with those of the others, round by round, because
 * a machine's speed changes from minute to minute.
 */

export interface Row {
  /** What `ONLY=` takes. */
  readonly name: string;
  /** The question, for people. */
  readonly what: string;
  readonly lines: readonly Line[];
  /** The first one of the mesh is what the others are compared with. */
  readonly contestants: readonly Contestant[];
  /** Rounds that are enough where one is long or has many samples in itself; default: as asked for. */
  readonly rounds?: number;
  /** What a run may take at most; default: two minutes. */
  readonly deadlineMs?: number;
  /** False: there is nothing to warm up, and a round is long. */
  readonly isWarm?: boolean;
  /** What a reader must know to judge the figures. */
  readonly note?: string;
}

export interface Line {
  /** The run of a contestant that yields it. */
  readonly run: string;
  /** Among the figures of that run. */
  readonly figure: string;
  readonly what: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
}

export interface Contestant {
  readonly name: string;
  readonly isMesh: boolean;
  /** What has been kept, and how safely, when a job counts as taken. */
  readonly keeps: string;
  readonly needs?: readonly Need[];
  /** Lives in a network of its own where the machine permits it, so that its bytes can be counted. */
  readonly hasOwnNetwork?: boolean;
  /** @throws Unavailable when it cannot be had here */
  open(stage: Stage): Promise<Opened>;
}

/** A program of the PATH (with the Debian package that has it), or a package of npm. */
export type Need = { readonly program: string; readonly debian: string } | { readonly npm: string };

export interface Stage {
  /** Sizes are small: what is measured means nothing, only that it can be. */
  readonly isQuick: boolean;
  /** On the disk that is measured; removed afterwards, as is all in it. */
  readonly folder: string;
}

export interface Opened {
  readonly runs: Readonly<Record<string, () => Promise<Sample>>>;
  close(): Promise<void>;
}

export interface Sample {
  readonly figures: Readonly<Record<string, number>>;
  /** Jobs that were done, for processor time per job; undefined: it was not about jobs. */
  readonly jobs?: number;
}

/** Its message says in words why there is no figure; nothing is broken. */
export class Unavailable extends Error {}
