/**
 * Task type `shell`: the command goes to /bin/sh as it is, with quotes, pipes and variables; or
 * `argv`, a program and its arguments, is run without a shell.
 */
import type { TaskType } from './task-type.ts';

export const shell: TaskType = {
  name: 'shell',
  // `--`: a command may begin with a dash and is no option then.
  launch: ({ order, run, startGroup }) =>
    startGroup(run.argv ?? ['/bin/sh', '-c', '--', order.grant.spec.command]),
};
