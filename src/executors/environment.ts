/**
 * The environment of an attempt: a few variables of the node, then what the job names, then what
 * the mesh says of the attempt. Everything else of the node stays with the node: its MESH_KEY must
 * not reach a job, and a job must not depend on the terminal its node happened to be started in.
 *
 * USER and LOGNAME are passed on because they say the same as HOME and programs read them. SHELL
 * is not: commands are run by /bin/sh, whatever the node's user likes to type into.
 */
import type { AttemptOrder } from '../core/effects.ts';
import { fenceText } from '../core/record.ts';

const PASSED_ON = ['PATH', 'HOME', 'LANG', 'TZ', 'USER', 'LOGNAME'] as const;

const DEFAULTS: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/',
  LANG: 'C.UTF-8',
};

type Variables = Readonly<Record<string, string>>;
type NodeEnvironment = Readonly<Record<string, string | undefined>>;

/** What every attempt has, unless its job sets it to something else. */
export function commonEnvironment(nodeEnv: NodeEnvironment, meshEnv: Variables): Variables {
  const env: Record<string, string> = {};
  for (const name of PASSED_ON) {
    // An empty PATH or HOME is a mistake of whoever started the node, not a wish.
    const value = nodeEnv[name] || DEFAULTS[name];
    if (value !== undefined) env[name] = value;
  }
  return { ...env, ...meshEnv };
}

/** @param meshEnv over the job's own variables */
export function environmentOf(
  { job, fence, grant }: AttemptOrder,
  nodeEnv: NodeEnvironment,
  meshEnv: Variables,
): Record<string, string> {
  return {
    ...commonEnvironment(nodeEnv, meshEnv),
    ...grant.spec.env,
    ...meshEnv,
    MESH_JOB_ID: job,
    MESH_ATTEMPT: String(fence.attempt),
    MESH_FENCE: fenceText(fence),
  };
}
