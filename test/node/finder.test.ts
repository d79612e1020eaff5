import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asJobId, type NodeId } from '../../src/base/ids.ts';
import type { Answer } from '../../src/core/calls.ts';
import type { Member } from '../../src/core/member.ts';
import { Finder } from '../../src/node/finder.ts';
import { factsOf, nodeId } from '../core/core-bench.ts';

const [SELF, B, C] = ['1', '2', '3'].map(nodeId) as [NodeId, NodeId, NodeId];
const JOB = asJobId('nobodys');
const NOTHING: Answer = { kind: 'lookUp', found: undefined };

const memberOf = (node: NodeId): Member =>
  ({ facts: factsOf(node), state: 'alive', isLinked: true }) as Partial<Member> as Member;

const isCode =
  (code: string) =>
  (thrown: unknown): boolean =>
    thrown instanceof MeshError && thrown.code === code;

/** Nobody knows the job. @param onCall may change who is linked and who is remembered */
function finderOf(linked: NodeId[], remembered: NodeId[], onCall: () => void = () => {}): Finder {
  return new Finder({
    self: SELF,
    core: {
      enliven: () => assert.fail('there is nothing'),
      linked: () => linked.map(memberOf),
      peers: () => linked.map(memberOf),
      remembered: () => remembered,
    },
    store: { readRecord: () => undefined },
    links: {
      call: async () => {
        onCall();
        return NOTHING;
      },
    },
    awaited: () => [],
  });
}

describe('a job that nobody at hand knows', () => {
  test('is denied when each node that may keep it has said so', async () => {
    await assert.rejects(finderOf([B, C], [B, C]).find(JOB), isCode('JOB_NOT_FOUND'));
  });

  test('is not denied for a node whose link came up while the others were asked', async () => {
    const [linked, remembered] = [[B], [B]];
    const finder = finderOf(linked, remembered, () => {
      linked.push(C);
      remembered.push(C);
    });
    await assert.rejects(finder.find(JOB), isCode('NOT_KNOWABLE'));
  });

  test('is not denied for a node that died long ago and was not forgotten', async () => {
    await assert.rejects(finderOf([B], [B, C]).find(JOB), isCode('NOT_KNOWABLE'));
  });
});
