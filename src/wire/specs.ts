/** What a submitter asked for, as the message `Job`; what a job needs of its node. */
import type { JobSpec, Needs } from '../core/job.ts';
import * as field from './fields.ts';
import { MAX_TEXT_CHARS } from './limits.ts';
import type { mesh } from './schema.ts';

const MAX_PRIORITY = 10;

export const toSpec = (spec: JobSpec): mesh.Job.$Properties => ({
  targetNodeId: spec.needs.target ?? '',
  command: field.sayable(spec.command),
  env: field.sayableMap(spec.env),
  taskType: field.sayable(spec.taskType),
  params: field.sayable(spec.params),
  workingDir: spec.workingDir === undefined ? null : field.sayable(spec.workingDir),
  timeoutMs: field.wholeMs(spec.timeoutMs),
  priority: spec.priority,
  requiredLabels: field.sayableMap(spec.needs.labels),
  requiredCapabilities: field.sayableMap(spec.needs.capabilities),
});

export function parseSpec(wire: mesh.Job.$Properties | null | undefined): JobSpec {
  const job = field.required(wire);
  const priority = field.count(job.priority, MAX_PRIORITY);
  if (priority === 0) throw new field.Malformed('no priority');
  return {
    taskType: field.name(job.taskType),
    command: field.text(job.command, MAX_TEXT_CHARS),
    params: field.text(job.params, MAX_TEXT_CHARS),
    env: field.map(job.env, MAX_TEXT_CHARS),
    ...(typeof job.workingDir === 'string' && {
      workingDir: field.text(job.workingDir, MAX_TEXT_CHARS),
    }),
    timeoutMs: field.count(job.timeoutMs) || field.count(job.timeoutSeconds) * 1000,
    priority,
    needs: parseNeeds({
      targetNodeId: job.targetNodeId ?? null,
      labels: job.requiredLabels ?? null,
      capabilities: job.requiredCapabilities ?? null,
    }),
  };
}

export const toNeeds = (needs: Needs): mesh.Needs.$Properties => ({
  targetNodeId: needs.target ?? '',
  labels: field.sayableMap(needs.labels),
  capabilities: field.sayableMap(needs.capabilities),
});

export function parseNeeds(wire: mesh.Needs.$Properties | null | undefined): Needs {
  const needs = field.required(wire);
  const target = field.optionalNodeId(needs.targetNodeId);
  return {
    ...(target && { target }),
    labels: field.map(needs.labels),
    capabilities: field.map(needs.capabilities),
  };
}
