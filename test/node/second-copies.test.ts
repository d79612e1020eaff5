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

interface Asking {
  readonly linked?: () => readonly NodeId[];
  /** Throws, or says whether it is kept. */
  readonly answer?: (to: NodeId, nth: number) => boolean;
  /** Settles when so many have been asked. */
  readonly count: number;
}

/** Settles with who was asked for what. */
async function askedAfter(
  event: MeshEvent,
  { linked = () => [OWNER, THIRD], answer = () => true, count }: Asking,
): Promise<[NodeId, Call][]> {
  const asked: [NodeId, Call][] = [];
  const enough = Promise.withResolvers<void>();
  const copies = new SecondCopies({
    self: SELF,
    replicasOf: () => [SELF, OWNER, THIRD],
    linked,
    links: {
      call: async (to, call) => {
        asked.push([to, call]);
        if (asked.length >= count) enough.resolve();
        const isKept = answer(to, asked.length);
        return {
          kind: 'blob',
          chunk: isKept ? { bytes: new Uint8Array(0), totalBytes: 3 } : undefined,
        };
      },
    },
    firstPauseMs: 1,
  });
  copies.onEvent(event);
  if (count > 0) await enough.promise;
  // What would be asked too much.
  await new Promise((resolve) => setTimeout(resolve, 20));
  copies.stop();
  return asked;
}

const keep = { kind: 'keepBlob', sha256: FILE.sha256 };

describe('a second copy of what a job has left', { timeout: 30_000 }, () => {
  test('is for its owner to keep', async () => {
    assert.deepEqual(await askedAfter(ended(THIRD), { count: 1 }), [[THIRD, keep]]);
  });

  test('is for another node that keeps its record, where it ran at its owner', async () => {
    const linked = () => [THIRD];
    assert.deepEqual(await askedAfter(ended(SELF), { linked, count: 1 }), [[THIRD, keep]]);
  });

  test('is for whoever can be reached', async () => {
    const linked = () => [THIRD];
    assert.deepEqual(await askedAfter(ended(OWNER), { linked, count: 1 }), [[THIRD, keep]]);
  });

  test('is not asked for where there is no first one', async () => {
    assert.deepEqual(await askedAfter(ended(OWNER, []), { count: 0 }), []);
  });

  test('is asked for again as long as it is on its way, and at the next one when it fails', async () => {
    const answer = (_to: NodeId, nth: number): boolean => {
      if (nth === 2) throw new Error('no room');
      return nth === 4;
    };
    assert.deepEqual(await askedAfter(ended(OWNER), { answer, count: 4 }), [
      [OWNER, keep],
      [OWNER, keep],
      [THIRD, keep],
      [THIRD, keep],
    ]);
  });

  test('waits for somebody to be there', async () => {
    let looks = 0;
    const linked = (): NodeId[] => {
      looks += 1;
      return looks > 3 ? [OWNER] : [];
    };
    assert.deepEqual(await askedAfter(ended(OWNER), { linked, count: 1 }), [[OWNER, keep]]);
  });
});
