/**
 * Task type `docker`: a container for each attempt, by the engine of this machine (Docker, or
 * Podman, which serves the same API). The node follows it: what it prints is taken from the engine,
 * its end is the attempt's, and it is removed before that is told. An image is pulled before the
 * attempt is reported running, so that no timeout counts that.
 *
 * A container is ended with its node, as it is orderly stopped; when the node is killed or stands
 * still, by the end of the lease (lease-keeper.ts); and removed by the next start (leftovers.ts).
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { messageOf } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { SupervisedLease } from '../../core/effects.ts';
import type { AttemptEnd } from '../../core/job.ts';
import { dockerParams, type RunParams } from '../../run/docker-params.ts';
import { parseParams, unfitField } from '../../run/task-params.ts';
import { ENDED_BEFORE_START } from '../failures.ts';
import { type Ending, Hosted, type HostedWork } from '../hosted.ts';
import type { Launch, Launched, Sighting, TaskType } from '../task-type.ts';
import { type ContainerEnd, EngineAway, runContainer } from './container.ts';
import { containerConfig } from './container-config.ts';
import { Engine, EngineRefusal, isAway } from './engine.ts';
import { findImage, type Image } from './images.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { removeLeftovers } from './leftovers.ts';
import { type AllowedMounts, allowedBinds } from './mounts.ts';
import { operate } from './operations.ts';
import { giveFolder, whyNotGiven } from './work-folder.ts';

export interface DockerOptions {
  readonly node: NodeId;
  /** Undefined: the first of the usual ones that is there. */
  readonly socket: string | undefined;
  readonly mounts: AllowedMounts;
  readonly onProblem: (sentence: string) => void;
}

export const makeDocker = (options: DockerOptions): TaskType => {
  const docker = new Docker(options);
  return {
    name: 'docker',
    look: () => docker.look(),
    launch: (launch) => docker.launch(launch),
    close: async () => docker.close(),
  };
};

/**
 * Checked once more: a working folder of the node's would be a mount that is in no list. Files that
 * a job is to have are in a folder of its own.
 */
function unfitIn({ order, run }: Launch): string | undefined {
  const { workingDir } = order.grant.spec;
  const more = workingDir === undefined ? [] : ['working_dir'];
  return unfitField('docker', [...Object.keys(run), ...more]);
}

/** Docker's, then Podman's; of the machine, then of the user. */
function usualSocket(): string {
  const own = process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.() ?? 0}`;
  const usual = ['/var/run/docker.sock', `${own}/docker.sock`];
  const podman = ['/run/podman/podman.sock', `${own}/podman/podman.sock`];
  return [...usual, ...podman].find((path) => existsSync(path)) ?? '/var/run/docker.sock';
}

/** What is asked of an engine is asked of the one that was seen at the last look. */
interface Seen {
  readonly engine: Engine;
  readonly keeper: LeaseKeeper;
}

class Docker {
  private readonly options: DockerOptions;
  private readonly life = randomBytes(8).toString('hex');
  /** Of this life, and could not be removed when they were to be. */
  private readonly abandoned = new Set<string>();
  private seen: Seen | undefined;

  constructor(options: DockerOptions) {
    this.options = options;
  }

  async look(): Promise<Sighting> {
    const { node, onProblem, socket = usualSocket() } = this.options;
    try {
      const { engine, version } = await Engine.connect(socket);
      this.seen = { engine, keeper: this.seen?.keeper ?? new LeaseKeeper(engine, onProblem) };
      // One that was created a moment ago is known by its life only.
      await removeLeftovers(engine, node, (life, id) => this.isFollowed(life, id));
      return {
        tag: 'present',
        version,
        capabilities: { docker: 'true', 'docker.version': version },
      };
    } catch (thrown) {
      return { tag: 'absent', reason: `${messageOf(thrown)}.` };
    }
  }

  private isFollowed(life: string | undefined, container: string): boolean {
    return life === this.life && !this.abandoned.delete(container);
  }

  close(): void {
    this.seen?.keeper.close();
  }

  async launch(launch: Launch): Promise<Launched> {
    const params = parseParams(dockerParams, launch.order.grant.spec);
    if (typeof params === 'string') return { tag: 'failed', reason: params };
    const unfit = unfitIn(launch);
    if (unfit !== undefined) return { tag: 'failed', reason: `${unfit}.` };
    const ungiven = whyNotGiven(launch.run);
    if (ungiven !== undefined) return { tag: 'failed', reason: ungiven };
    const { seen } = this;
    if (!seen)
      return { tag: 'returned', reason: 'No container engine was found on this node yet.' };
    if (params.operation === 'run') return this.run(seen, launch, params);
    const { place } = launch;
    const work: HostedWork = (ending) =>
      operate(seen.engine, { params, place }, ending).catch((thrown) => failed(thrown, ending));
    return { tag: 'started', running: new Hosted(work) };
  }

  private async run(seen: Seen, launch: Launch, params: RunParams): Promise<Launched> {
    const binds = await allowedBinds(params.mounts, this.options.mounts);
    if (typeof binds === 'string') return { tag: 'failed', reason: binds };
    let image: Image;
    try {
      const about = { name: params.image, pull: params.pull, signal: launch.ending };
      image = await findImage(seen.engine, about);
    } catch (thrown) {
      if (launch.ending.aborted) return { tag: 'failed', reason: ENDED_BEFORE_START };
      if (isAway(thrown)) return { tag: 'returned', reason: sentenceOf(thrown) };
      return { tag: 'failed', reason: sentenceOf(thrown) };
    }
    const { node } = this.options;
    const config = containerConfig(launch, params, { image, binds, node, life: this.life });
    return { tag: 'started', running: this.contain(seen, launch, { image, config }) };
  }

  private contain(
    { engine, keeper }: Seen,
    { run, place, note, lease }: Launch,
    { image, config }: { image: Image; config: Readonly<Record<string, unknown>> },
  ): Contained {
    let container: string | undefined;
    const order = {
      engine,
      config,
      stopSignal: image.stopSignal,
      place,
      onCreated: async (id: string) => {
        container = id;
        keeper.hold(id, lease());
        await giveFolder(engine, id, { run, folder: place.path });
      },
      onRemoved: (id: string) => {
        container = undefined;
        keeper.forget(id);
      },
      onProblem: this.options.onProblem,
    };
    const work: HostedWork = async (ending) => {
      try {
        const ended = await runContainer(order, ending);
        note({ usage: ended.usage, result: resultOf(ended, image) });
        return ended.end;
      } catch (thrown) {
        return notEnded(thrown, ending);
      } finally {
        if (container !== undefined) this.abandoned.add(container);
      }
    };
    return new Contained(work, (next) => {
      if (container !== undefined) keeper.hold(container, next);
    });
  }
}

class Contained extends Hosted {
  private readonly onLease: (lease: SupervisedLease) => void;

  constructor(work: HostedWork, onLease: (lease: SupervisedLease) => void) {
    super(work);
    this.onLease = onLease;
  }

  override prolong(lease: SupervisedLease): void {
    this.onLease(lease);
  }
}

/** Of one that is not known to have ended, or has not started. */
function notEnded(thrown: unknown, ending: Ending): AttemptEnd {
  const end = failed(thrown, ending);
  if (thrown instanceof EngineRefusal || end.tag !== 'failed') return end;
  const { reason } = end;
  // Before it was told to start: nothing has run.
  return { tag: thrown instanceof EngineAway ? 'lost' : 'returned', reason };
}

function failed(thrown: unknown, { asked }: Ending): AttemptEnd {
  // How it was made to end; what comes of that is known to whoever asked.
  if (asked.aborted) throw thrown;
  return { tag: 'failed', reason: sentenceOf(thrown) };
}

const sentenceOf = (thrown: unknown): string =>
  `The container engine could not do it: ${messageOf(thrown).replace(/\.$/, '')}.`;

function resultOf({ id, exitCode, isOutOfMemory }: ContainerEnd, image: Image): string {
  const about = { container: id, image_id: image.id, exit_code: exitCode ?? null };
  return JSON.stringify({ ...about, oom_killed: isOutOfMemory });
}
