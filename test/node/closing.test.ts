import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEADLINE, MeshBench } from './mesh-bench.ts';

const EXIT_0 = { tag: 'exited', code: 0 } as const;

describe('a node that closes', () => {
  for (const way of ['leave', 'end'] as const)
    test(`keeps what ended at its last moment (${way})`, DEADLINE, async (t) => {
      const mesh = await MeshBench.start(t, '1');
      const one = mesh.of(0);
      const job = await one.take({ command: 'hold' });
      await one.becomes(job, 'JOB_RUNNING');
      one.onStop = () => one.end(one.started[0] ?? assert.fail(), EXIT_0);
      await one.close(way);
      one.onStop = () => {};
      await one.start();
      const live = await one.becomes(job, 'JOB_COMPLETED');
      assert.equal(live.record.job.attempts, 1);
    });
});
