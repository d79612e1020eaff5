import type { TestContext } from 'node:test';
import { asWall } from '../../src/base/instant.ts';
import { createExecutors } from '../../src/executors/executors.ts';
import { fence, LIMIT_BYTES, order, temporaryFolder } from '../executors/attempts.ts';
import { describeExecutor, type ExecutorBench, type Script } from './executor-suite.ts';

function commandOf({ prints = '', exits, until }: Script): string {
  const waits = until === undefined ? '' : `while [ ! -e '${until}' ]; do sleep 0.02; done; `;
  return `printf %s '${prints}'; ${waits}${exits === undefined ? 'exec sleep 1000' : `exit ${exits}`}`;
}

describeExecutor('shell', (t: TestContext): ExecutorBench => {
  const folder = temporaryFolder(t);
  const now = () => asWall(Date.now());
  return {
    open: () => createExecutors({ folder, outputLimitBytes: LIMIT_BYTES, now }),
    order: (script, { job, attempt = 1, taskType = 'shell' } = {}) =>
      order(commandOf(script), { taskType }, { ...(job && { job }), fence: fence(attempt) }),
  };
});
