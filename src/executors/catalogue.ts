/** All task types this program has. A new one is one file and one entry here. */
import { shell } from './shell.ts';
import type { TaskType } from './task-type.ts';

export const makeTaskTypes = (): readonly TaskType[] => [shell];
