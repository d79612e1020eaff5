import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asNodeId, type NodeId } from '../../src/base/ids.ts';
import type { Answer, Call } from '../../src/core/calls.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { ParamsCheck } from '../../src/node/params-check.ts';
import type { ParamsChecked } from '../../src/node/ports.ts';

const [A, B, C] = ['a', 'b', 'c'].map((digit) => asNodeId(`node-${digit.repeat(32)}`));

const spec = (taskType: string, params: string, target?: NodeId): JobSpec =>
  ({ taskType, params, needs: { target, labels: {}, capabilities: {} } }) as unknown as JobSpec;
const bad = (target?: NodeId): JobSpec => spec('known', '"bad"', target);

/** A, B and C serve `known`; what is bad says so. */
function make(
  answers: (node: NodeId, params: readonly string[]) => Promise<Answer>,
  here: ParamsChecked = { tag: 'unknown' },
): { check: ParamsCheck; asked: { node: NodeId; params: readonly string[] }[] } {
  const asked: { node: NodeId; params: readonly string[] }[] = [];
  const members = [A, B, C].map((node) => ({ facts: { node, taskTypes: ['known'] } }));
  const check = new ParamsCheck({
    core: { linked: () => members as never },
    executor: { checkParams: () => here },
    links: {
      call: (node: NodeId, call: Call) => {
        assert.equal(call.kind, 'checkParams');
        const { params } = call as Extract<Call, { kind: 'checkParams' }>;
        asked.push({ node, params });
        return answers(node, params);
      },
    },
  });
  return { check, asked };
}

const judge = async (_: NodeId, params: readonly string[]): Promise<Answer> => ({
  kind: 'checkedParams',
  problems: params.map((text) => (text.includes('bad') ? 'is bad' : undefined)),
});

describe('parameters', () => {
  test('of a type that nobody serves, or that takes any, keep nobody waiting', () => {
    const { check, asked } = make(judge);
    assert.equal(check.problemsOf([spec('unknown', '{}')]), undefined);
    assert.equal(make(judge, { tag: 'free' }).check.problemsOf([spec('known', '{}')]), undefined);
    assert.deepEqual(asked, []);
  });

  test('are judged by nodes that serve the type, each job by itself', async () => {
    const { check, asked } = make(judge);
    const specs = [spec('known', '1'), spec('unknown', '"bad"'), spec('known', '"bad"')];
    assert.deepEqual(await check.problemsOf(specs), [undefined, undefined, 'is bad']);
    assert.deepEqual(
      asked.map(({ node }) => node),
      [A, B],
    );
  });

  test('are judged by the node that the job is pinned to', async () => {
    const { check, asked } = make(judge);
    await check.problemsOf([bad(C)]);
    assert.equal(asked[0]?.node, C);
  });

  test('are taken unjudged where nobody answers, and by the first who does', async () => {
    const silent = make(async () => Promise.reject(new Error('no answer')));
    assert.deepEqual(await silent.check.problemsOf([bad()]), [undefined]);
    const half = make((node, params) => (node === A ? new Promise(() => {}) : judge(node, params)));
    assert.deepEqual(await half.check.problemsOf([bad()]), ['is bad']);
    const short = make(async () => ({ kind: 'checkedParams', problems: [] }));
    assert.deepEqual(await short.check.problemsOf([bad()]), [undefined]);
  });

  test('go in portions that fit into a frame', async () => {
    const { check, asked } = make(judge);
    const text = JSON.stringify('x'.repeat(200 * 1024));
    const specs = Array.from({ length: 5 }, () => ({ ...bad(), params: text }));
    assert.equal((await check.problemsOf(specs))?.length, 5);
    assert.deepEqual(
      asked.filter(({ node }) => node === A).map(({ params }) => params.length),
      [2, 2, 1],
    );
  });
});
