/** One attempt of a handler, in a process of the pool. */
import { appendFile, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { SupervisedLease } from '../../core/effects.ts';
import { fenceText } from '../../core/record.ts';
import { folderFailure } from '../failures.ts';
import { ENDED_ON_REQUEST, Hosted } from '../hosted.ts';
import type { Launch, Launched } from '../task-type.ts';
import type { HandlerProcess } from './handler-process.ts';
import type { ProcessPool } from './process-pool.ts';
import { type Ended, FOLDER_MODE } from './protocol.ts';

export async function launchHandler(attempt: Launch, pool: ProcessPool): Promise<Launched> {
  const refused = Object.keys(attempt.run).find((name) => NOT_FOR_HANDLERS.includes(name));
  if (refused !== undefined) {
    const reason = `${refused} is not for handlers: they run in processes that the node keeps. Leave it out.`;
    return { tag: 'failed', reason };
  }
  const process = await pool.take();
  if ('tag' in process) {
    const reason = `The module of the handler cannot be loaded here: ${process.reason}.`;
    return { tag: 'returned', reason };
  }
  try {
    const { isMade, path } = attempt.place;
    const folder = isMade ? path : await process.ownFolder(dirname(path));
    return { tag: 'started', running: new HandlerRun(attempt, { process, pool, folder }) };
  } catch (thrown) {
    pool.giveBack(process);
    return folderFailure(thrown);
  }
}

const NOT_FOR_HANDLERS = ['argv', 'stdin', 'umask', 'user', 'nice', 'limits', 'sandbox'];

interface Host {
  readonly process: HandlerProcess;
  readonly pool: ProcessPool;
  readonly folder: string;
}

const leftMsOf = (lease: SupervisedLease): number | undefined =>
  lease.tag === 'leased' ? lease.leftMs : undefined;

/** The guard in the process keeps the lease, whatever becomes of this node. */
class HandlerRun extends Hosted {
  isTraceless = false;
  private readonly process: HandlerProcess;
  private readonly run: number;

  constructor(attempt: Launch, { process, pool, folder }: Host) {
    const reported = attend(attempt, process);
    const run = begin(attempt, process, folder);
    super(async (ending) => {
      ending.asked.addEventListener('abort', () =>
        process.send({ kind: 'abort', reason: 'The attempt is to end.' }),
      );
      ending.forced.addEventListener('abort', () => process.kill());
      const report = await reported;
      if (typeof report === 'string') {
        return ending.asked.aborted ? ENDED_ON_REQUEST : { tag: 'failed', reason: `${report}.` };
      }
      if (report.isClean && !ending.asked.aborted) {
        this.isTraceless = true;
        if (!report.isFolderKept && !attempt.place.isMade) process.dropFolder();
        pool.giveBack(process);
      } else {
        process.kill();
        await process.ended;
      }
      if (report.kind === 'failed') return { tag: 'failed', reason: report.reason };
      if (report.result !== undefined) attempt.note({ result: report.result });
      return { tag: 'exited', code: 0 };
    });
    this.process = process;
    this.run = run;
  }

  override prolong(lease: SupervisedLease): void {
    this.process.prolong(this.run, leftMsOf(lease));
  }
}

/** Settles with its report, or with why its process ended without one. */
function attend({ place, tell }: Launch, process: HandlerProcess): Promise<Ended | string> {
  const done = Promise.withResolvers<Ended>();
  let made: Promise<unknown> | undefined;
  process.attend(
    (report) => {
      if (report.kind === 'progress') tell(report);
      else if (report.kind === 'done' || report.kind === 'failed') done.resolve(report);
    },
    // What is printed past the handler's own streams: by its native code, its children, V8.
    async (stream, bytes) => {
      const path = place[stream];
      made ??= mkdir(dirname(path), { recursive: true, mode: FOLDER_MODE });
      await made.then(() => appendFile(path, bytes, { mode: 0o600 })).catch(() => {});
    },
  );
  return Promise.race([done.promise, process.ended]);
}

function begin(
  { order, place, env, lease }: Launch,
  process: HandlerProcess,
  folder: string,
): number {
  const { job, fence, grant } = order;
  return process.run({
    task: grant.spec.taskType,
    params: grant.spec.params,
    job,
    attempt: fence.attempt,
    fence: fenceText(fence),
    folder,
    isOwnFolder: !place.isMade,
    stdout: place.stdout,
    stderr: place.stderr,
    env,
    leftMs: leftMsOf(lease()),
  });
}
