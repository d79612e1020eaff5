import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asJobId, asNodeId, type NodeId } from '../../src/base/ids.ts';
import { asWall } from '../../src/base/instant.ts';
import type { Call } from '../../src/core/calls.ts';
import type { MeshEvent } from '../../src/core/effects.ts';
import { NO_OUTPUT } from '../../src/core/job.ts';
import { SecondCopies } from '../../src/node/second-copies.ts';

const node = (digit: string): NodeId => asNodeId(`node-${digit.repeat(32)}`);
const [SELF, OWNER, THIRD] = [node('a'), node('b'), node('c')];
const FILE = { path: 'out', bytes: 3, sha256: 'ab'.repeat(32) };

const ended = (owner: NodeId, files = [FILE]): MeshEvent => ({
  kind: 'attemptEnded',
  job: asJobId('job-1'),
  outcome: {
    fence: { epoch: { counter: 1, node: owner }, attempt: 1 },
    executor: SELF,
    end: { tag: 'exited', code: 0 },
    finishedAt: asWall(0),
    stdout: NO_OUTPUT,
    stderr: NO_OUTPUT,
    ...(files.length > 0 && { receipt: { files } }),
  },
});

/** Settles with who was asked for what, once the event has been dealt with. */
async function askedAfter(event: MeshEvent, linked: readonly NodeId[]) {
  const asked: [NodeId, Call][] = [];
  const copies = new SecondCopies({
    self: SELF,
    replicasOf: () => [SELF, OWNER, THIRD],
    linked: () => linked,
    links: {
      call: async (to, call) => {
        asked.push([to, call]);
        return { kind: 'blob', chunk: undefined };
      },
    },
  });
  copies.onEvent(event);
  await new Promise((resolve) => setImmediate(resolve));
  copies.stop();
  return asked;
}

const keep = { kind: 'keepBlob', sha256: FILE.sha256 };

describe('a second copy of what a job has left', () => {
  test('is for its owner to keep', async () => {
    assert.deepEqual(await askedAfter(ended(THIRD), [OWNER, THIRD]), [[THIRD, keep]]);
  });

  test('is for another node that keeps its record, where it ran at its owner', async () => {
    assert.deepEqual(await askedAfter(ended(SELF), [THIRD]), [[THIRD, keep]]);
  });

  test('is for whoever can be reached', async () => {
    assert.deepEqual(await askedAfter(ended(OWNER), [THIRD]), [[THIRD, keep]]);
    assert.deepEqual(await askedAfter(ended(OWNER), []), []);
  });

  test('is not asked for where there is no first one', async () => {
    assert.deepEqual(await askedAfter(ended(OWNER, []), [OWNER, THIRD]), []);
  });
});
