/** Task type `shell`: the command goes to /bin/sh as it is, with quotes, pipes and variables. */
import type { TaskType } from './task-type.ts';

export const shell: TaskType = {
  name: 'shell',
  // `--`: a command may begin with a dash and is no option then.
  launch: ({ order, startGroup }) => startGroup(['/bin/sh', '-c', '--', order.grant.spec.command]),
};
