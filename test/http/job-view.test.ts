import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId } from '../../src/base/ids.ts';
import type { LiveRecord } from '../../src/core/calls.ts';
import { NO_OUTPUT } from '../../src/core/job.ts';
import { toExplanation } from '../../src/http/job-view.ts';
import { post } from './requests.ts';
import { startApi } from './test-api.ts';

describe('a job that is lost with its last attempt', () => {
  test('lists that attempt once, with why it was lost', async () => {
    const api = await startApi();
    await post(api.port, '/api/v1/jobs', { command: 'x' });
    api.service.start(asJobId('job-1'));
    const granted = await api.service.getJob(asJobId('job-1'));
    await api.stop();
    const { attempts } = toExplanation(lost(granted));
    assert.deepEqual(
      attempts.map(({ attempt, note }) => [attempt, note]),
      [[1, 'its executor died']],
    );
  });
});

function lost(live: LiveRecord): LiveRecord {
  const { record } = live;
  const { state } = record.job;
  assert.ok(state.tag === 'granted');
  const { fence, executor, at } = state.grant;
  const reason = 'its executor died';
  const outcome = {
    fence,
    executor,
    end: { tag: 'lost', reason } as const,
    startedAt: at,
    finishedAt: at,
    stdout: NO_OUTPUT,
    stderr: NO_OUTPUT,
  };
  const final = { status: 'JOB_LOST', at, reason, outcome } as const;
  const history = [{ fence, executor, at, note: reason, isSuperseded: false }];
  const job = { ...record.job, history, state: { tag: 'final', final } as const };
  return { ...live, record: { ...record, job }, status: 'JOB_LOST' };
}
