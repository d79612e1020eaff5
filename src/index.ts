/**
 * What `import … from 'worker-mesh'` gives. Modules of handlers import this file in each process
 * of the pool, so nothing large is loaded before it is needed.
 */

export {
  defineTask,
  type Schema,
  type SchemaIssue,
  type SchemaResult,
  type Task,
  type TaskContext,
  type TaskDefinition,
  type TaskFiles,
} from './tasks/define-task.ts';
