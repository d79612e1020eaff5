/**
 * Operations on containers that are there already: start, stop, logs. They do not make the
 * container a job's: it goes on when the job is over. Containers of jobs are left to their jobs.
 */
import type { AttemptEnd } from '../../core/job.ts';
import type { OperationParams } from '../../run/docker-params.ts';
import type { Ending } from '../hosted.ts';
import type { Place } from '../task-type.ts';
import { type Engine, isMissing } from './engine.ts';
import { unframe, unframed, writeOutput } from './frames.ts';
import { JOB_LABEL } from './leftovers.ts';

const DONE: AttemptEnd = { tag: 'exited', code: 0 };

interface About {
  readonly Config: {
    readonly Tty?: boolean;
    readonly Labels?: Readonly<Record<string, string>> | null;
  };
}

/** Rejects with a reason, or as an abort. */
export async function operate(
  engine: Engine,
  { params, place }: { params: OperationParams; place: Place },
  { asked: signal }: Ending,
): Promise<AttemptEnd> {
  const { id } = params;
  const path = `/containers/${id}`;
  const about = await engine.call({ path: `${path}/json`, signal }).catch((thrown: unknown) => {
    throw isMissing(thrown) ? new Error(`there is no container ${id} on this node`) : thrown;
  });
  const { Config } = about as About;
  const job = Config.Labels?.[JOB_LABEL];
  if (job !== undefined && params.operation !== 'logs') {
    throw new Error(`the container ${id} is that of job ${job}: cancel the job instead`);
  }
  switch (params.operation) {
    case 'start':
      await engine.call({ method: 'POST', path: `${path}/start`, signal });
      return DONE;
    case 'stop': {
      // As long as the container takes, by its own stop timeout; the job's is above that.
      const answer = await engine.open({ method: 'POST', path: `${path}/stop`, signal });
      answer.resume();
      return DONE;
    }
    case 'logs': {
      const { tail, follow } = params;
      const query = {
        stdout: '1',
        stderr: '1',
        follow: follow ? '1' : '0',
        tail: tail === undefined ? 'all' : String(tail),
      };
      const printed = await engine.open({ path: `${path}/logs`, query, signal });
      await writeOutput(Config.Tty ? unframed(printed) : unframe(printed), place);
      return DONE;
    }
  }
}
