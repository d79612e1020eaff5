import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isJobId } from '../../src/base/ids.ts';
import { homeOf, toSubmission } from '../../src/node/submissions.ts';
import { B, C, SELF, SPEC } from '../core/core-bench.ts';

describe('a submission', () => {
  test('without a key gets an id and a birth that no other has', () => {
    const all = Array.from({ length: 1000 }, () => toSubmission({ spec: SPEC }));
    assert.equal(new Set(all.map(({ job }) => job)).size, 1000);
    assert.equal(new Set(all.map(({ birth }) => birth)).size, 1000);
    assert.ok(all.every(({ job, isKeyed }) => isJobId(job) && !isKeyed));
  });

  test('with an id of the client has that id; with a key always the same one', () => {
    const named = toSubmission({ spec: SPEC, key: { kind: 'id', text: 'my-job' } });
    assert.equal(named.job, 'my-job');
    assert.equal(named.isKeyed, true);
    const key = { kind: 'idempotency', text: 'any text, ä too' } as const;
    const [first, second] = [toSubmission({ spec: SPEC, key }), toSubmission({ spec: SPEC, key })];
    assert.equal(first?.job, second?.job);
    assert.ok(isJobId(first.job));
    assert.notEqual(first.birth, second.birth);
  });

  test('has the same hash in whatever order its names are written, and another for other content', () => {
    const hash = (env: Record<string, string>, command = 'true'): string =>
      toSubmission({ spec: { ...SPEC, env, command } }).contentHash;
    assert.equal(hash({ A: '1', B: '2' }), hash({ B: '2', A: '1' }));
    assert.notEqual(hash({ A: '1', B: '2' }), hash({ A: '2', B: '1' }));
    assert.notEqual(hash({}), hash({}, 'false'));
  });

  test('has the hash that earlier versions gave to the same content', () => {
    const spec = {
      ...SPEC,
      command: 'ä',
      env: { B: '2', A: '1', 10: 'x', 9: 'y' },
      needs: { labels: { z: '1', a: '2' }, capabilities: {} },
    };
    assert.equal(toSubmission({ spec }).contentHash, '8705b6075d0cca60f9a49d943902890f');
  });

  test('finds the same home at every node that knows the same members', () => {
    const { job } = toSubmission({ spec: SPEC, key: { kind: 'id', text: 'k' } });
    const home = homeOf(job, [SELF, B, C]);
    assert.ok(home);
    assert.equal(homeOf(job, [C, SELF, B]), home);
    assert.equal(homeOf(job, []), undefined);
  });
});
