/** One attempt of a handler, in a process of the pool. */
import { appendFile } from 'node:fs/promises';
import type { SupervisedLease } from '../../core/effects.ts';
import type { AttemptEnd } from '../../core/job.ts';
import { fenceText } from '../../core/record.ts';
import { ENDED_ON_REQUEST, type Ending, Hosted } from '../hosted.ts';
import type { Launch, Launched } from '../task-type.ts';
import type { HandlerProcess } from './handler-process.ts';
import type { ProcessPool } from './process-pool.ts';
import type { Report } from './protocol.ts';

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
  return { tag: 'started', running: new HandlerRun(attempt, process, pool) };
}

const NOT_FOR_HANDLERS = ['argv', 'stdin', 'umask', 'user', 'nice', 'limits', 'sandbox'];

/** The guard in the process keeps the lease, whatever becomes of this node. */
class HandlerRun extends Hosted {
  isTraceless = false;
  private readonly process: HandlerProcess;

  constructor(attempt: Launch, process: HandlerProcess, pool: ProcessPool) {
    super((ending) =>
      follow(attempt, process, {
        pool,
        ending,
        onClean: () => {
          this.isTraceless = true;
        },
      }),
    );
    this.process = process;
    this.prolong(attempt.order.lease);
  }

  override prolong(lease?: SupervisedLease): void {
    this.process.prolong(lease?.tag === 'leased' ? lease.leftMs : undefined);
  }
}

async function follow(
  attempt: Launch,
  process: HandlerProcess,
  { pool, ending, onClean }: { pool: ProcessPool; ending: Ending; onClean: () => void },
): Promise<AttemptEnd> {
  const done = Promise.withResolvers<Extract<Report, { isClean: boolean }>>();
  const { place } = attempt;
  process.attend(
    (report) => {
      if (report.kind === 'progress') attempt.tell(report);
      else if (report.kind === 'done' || report.kind === 'failed') done.resolve(report);
    },
    // What is printed past the handler's own streams: by its native code, its children, V8.
    (stream, bytes) => appendFile(place[stream], bytes).catch(() => {}),
  );
  ending.asked.addEventListener('abort', () =>
    process.send({ kind: 'abort', reason: 'The attempt is to end.' }),
  );
  ending.forced.addEventListener('abort', () => process.kill());
  const { job, fence, grant } = attempt.order;
  process.send({
    kind: 'run',
    task: grant.spec.taskType,
    params: grant.spec.params,
    job,
    attempt: fence.attempt,
    fence: fenceText(fence),
    folder: place.path,
    stdout: place.stdout,
    stderr: place.stderr,
    env: attempt.env,
  });
  const report = await Promise.race([done.promise, process.ended]);
  if (typeof report === 'string') {
    return ending.asked.aborted ? ENDED_ON_REQUEST : { tag: 'failed', reason: `${report}.` };
  }
  if (report.isClean && !ending.asked.aborted) {
    onClean();
    pool.giveBack(process);
  } else {
    process.kill();
    await process.ended;
  }
  if (report.kind === 'failed') return { tag: 'failed', reason: report.reason };
  if (report.result !== undefined) attempt.note({ result: report.result });
  return { tag: 'exited', code: 0 };
}
