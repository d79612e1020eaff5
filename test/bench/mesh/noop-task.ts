/** What `mesh up --tasks` is given: the handlers of the rows. */
import { defineTask } from '../../../src/tasks/define-task.ts';

export const noop = defineTask({ name: 'noop', run: () => ({ ok: true }) });
