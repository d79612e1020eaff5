/** Where task types come from that come and go while the node runs: modules of handlers, workers. */
import type { TaskType } from './task-type.ts';

export interface TaskSource {
  /** Those that are there now. */
  types(): readonly TaskType[];
  /** Settles once it knows what it has at first. @param onChange what `types` gives has changed */
  start(onChange: () => void): Promise<void>;
  /**
   * Whether parameters (JSON texts) are as the type demands: a sentence for what is wrong with
   * each, undefined where nothing is. Undefined as a whole: the type is not of this source, or it
   * takes any parameters.
   */
  check?(
    taskType: string,
    params: readonly string[],
  ): Promise<readonly (string | undefined)[]> | undefined;
  /** After the last attempt. */
  close(): Promise<void>;
}
