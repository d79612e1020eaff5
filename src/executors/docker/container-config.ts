/** What the engine is told of a new container, from what the job says. */
import type { NodeId } from '../../base/ids.ts';
import { fenceText } from '../../core/record.ts';
import type { RunParams } from '../../run/docker-params.ts';
import type { RunOptions } from '../../run/run-options.ts';
import type { Launch } from '../task-type.ts';
import type { Image } from './images.ts';
import { FENCE_LABEL, JOB_LABEL, LIFE_LABEL, NODE_LABEL } from './leftovers.ts';
import { hasFiles, WORK } from './work-folder.ts';

export interface ContainerParts {
  readonly image: Image;
  readonly binds: readonly string[];
  readonly node: NodeId;
  readonly life: string;
}

/** Body of POST /containers/create. */
export function containerConfig(
  { order, run, env, place }: Launch,
  params: RunParams,
  { image, binds, node, life }: ContainerParts,
): Readonly<Record<string, unknown>> {
  const { job, fence, grant } = order;
  const isMounted = hasFiles(run);
  const user = run.user ?? (isMounted ? ownUser() : undefined);
  return {
    Image: image.id,
    ...(params.command && { Cmd: params.command }),
    // Of the node's own environment only what says which attempt this is: the rest is the image's.
    Env: Object.entries({ ...grant.spec.env, ...params.env, ...ofMesh(env) }).map(
      ([name, value]) => `${name}=${value}`,
    ),
    ...(user !== undefined && { User: user }),
    ...(isMounted && { WorkingDir: WORK }),
    AttachStdout: true,
    AttachStderr: true,
    Labels: {
      [NODE_LABEL]: node,
      [JOB_LABEL]: job,
      [FENCE_LABEL]: fenceText(fence),
      [LIFE_LABEL]: life,
    },
    HostConfig: {
      Binds: isMounted ? [...binds, `${place.path}:${WORK}:rw`] : binds,
      ...limitsOf(params, run),
      ...(params.network !== undefined && { NetworkMode: params.network }),
      // It is in the attempt's own files, which have a limit.
      LogConfig: { Type: 'none', Config: {} },
    },
  };
}

/** Files it leaves are to be read and removed by the node. */
function ownUser(): string | undefined {
  const [user, group] = [process.getuid?.(), process.getgid?.()];
  return user === undefined || group === undefined ? undefined : `${user}:${group}`;
}

const ofMesh = (env: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('MESH_')));

function limitsOf({ memory, cpus }: RunParams, { limits = {} }: RunOptions): object {
  const bytes = memory ?? limits.memory_bytes;
  const ulimits = [
    ['nofile', limits.open_files],
    ['cpu', limits.cpu_seconds],
    ['fsize', limits.file_bytes],
  ].flatMap(([Name, most]) => (most === undefined ? [] : [{ Name, Soft: most, Hard: most }]));
  return {
    // No swap beyond it, or the limit would be half of one.
    ...(bytes !== undefined && { Memory: bytes, MemorySwap: bytes }),
    ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }),
    ...(limits.processes !== undefined && { PidsLimit: limits.processes }),
    ...(ulimits.length > 0 && { Ulimits: ulimits }),
  };
}
