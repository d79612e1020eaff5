/** What a submitter asked for, as the message `Job`; what a job needs of its node. */
import type { JobSpec, Needs } from '../core/job.ts';
import * as field from './fields.ts';
import { MAX_TEXT_CHARS } from './limits.ts';
import type { mesh } from './schema.ts';
import { specParts } from './shared-parts.ts';

const MAX_PRIORITY = 10;

/** Of a job of which only the end is known; no node serves its task type. */
export const NO_SPEC: JobSpec = {
  taskType: '',
  command: '',
  params: '{}',
  run: '{}',
  env: {},
  timeoutMs: 0,
  priority: 1,
  needs: { labels: {}, capabilities: {} },
  delivery: 'at_least_once',
  onIsolation: 'stop',
};

export const toSpec = (spec: JobSpec): mesh.Job.$Properties => ({
  targetNodeId: spec.needs.target ?? '',
  command: field.sayable(spec.command),
  env: field.sayableMap(spec.env),
  taskType: field.sayable(spec.taskType),
  params: field.sayable(spec.params),
  workingDir: spec.workingDir === undefined ? null : field.sayable(spec.workingDir),
  // Nearly no job says any, so it costs no byte then.
  run: spec.run === '{}' ? '' : field.sayable(spec.run),
  timeoutMs: field.wholeMs(spec.timeoutMs),
  queueTimeoutMs: optionalMs(spec.queueTimeoutMs),
  totalTimeoutMs: optionalMs(spec.totalTimeoutMs),
  priority: spec.priority,
  requiredLabels: field.sayableMap(spec.needs.labels),
  requiredCapabilities: field.sayableMap(spec.needs.capabilities),
  delivery: spec.delivery === 'at_most_once' ? 1 : 0,
  onIsolation: spec.onIsolation === 'continue' ? 1 : 0,
  replicas: spec.replicas ?? 0,
});

export function parseSpec(wire: mesh.Job.$Properties | null | undefined): JobSpec {
  const job = field.required(wire);
  const priority = field.count(job.priority, MAX_PRIORITY);
  if (priority === 0) throw new field.Malformed('no priority');
  return {
    taskType: specParts.shareText(field.name(job.taskType)),
    command: field.text(job.command, MAX_TEXT_CHARS),
    params: field.text(job.params, MAX_TEXT_CHARS),
    env: specParts.shareMap(field.map(job.env, MAX_TEXT_CHARS)),
    ...(typeof job.workingDir === 'string' && {
      workingDir: field.text(job.workingDir, MAX_TEXT_CHARS),
    }),
    run: specParts.shareText(field.text(job.run, MAX_TEXT_CHARS) || '{}'),
    ...field.optionalCount('queueTimeoutMs', job.queueTimeoutMs),
    ...field.optionalCount('totalTimeoutMs', job.totalTimeoutMs),
    timeoutMs: field.count(job.timeoutMs) || field.count(job.timeoutSeconds) * 1000,
    priority,
    needs: parseNeeds({
      targetNodeId: job.targetNodeId ?? null,
      labels: job.requiredLabels ?? null,
      capabilities: job.requiredCapabilities ?? null,
    }),
    delivery: choice(job.delivery, ['at_least_once', 'at_most_once']),
    onIsolation: choice(job.onIsolation, ['stop', 'continue']),
    ...parseDisks(job.replicas),
  };
}

const optionalMs = (ms: number | undefined): number | null =>
  ms === undefined ? null : field.wholeMs(ms);

/** By the numbers of the enum, from 0. A choice of a newer version is not guessed. */
function choice<T>(wire: number | null | undefined, choices: readonly T[]): T {
  return field.required(choices[wire ?? 0]);
}

function parseDisks(wire: number | null | undefined): Pick<JobSpec, 'replicas'> {
  const replicas = wire ?? 0;
  if (replicas === 0) return {};
  if (replicas === 1 || replicas === 2 || replicas === 3) return { replicas };
  throw new field.Malformed('a number of disks out of range');
}

export const toNeeds = (needs: Needs): mesh.Needs.$Properties => ({
  targetNodeId: needs.target ?? '',
  labels: field.sayableMap(needs.labels),
  capabilities: field.sayableMap(needs.capabilities),
});

export function parseNeeds(wire: mesh.Needs.$Properties | null | undefined): Needs {
  const needs = field.required(wire);
  const target = field.optionalNodeId(needs.targetNodeId);
  return specParts.shareNeeds({
    ...(target && { target }),
    labels: field.map(needs.labels),
    capabilities: field.map(needs.capabilities),
  });
}
