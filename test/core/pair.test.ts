/** When the second of two follows the first. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NodeId } from '../../src/base/ids.ts';
import { REVOKE_WAIT_MS } from '../../src/core/lease.ts';
import { B, bootOf, C, CoreBench, SELF } from './core-bench.ts';
import { epochOf, grantedTo, JOB, type RecordChange, recordOf } from './record-of.ts';

/** A replica of jobs of B; all peers are linked, and say only what the test says. */
function replica(change: RecordChange = {}, peers: readonly NodeId[] = [B, C]): CoreBench {
  const bench = new CoreBench({ facts: { slots: 0 } });
  for (const node of peers) {
    bench.link(node, { slots: 0 });
    bench.replica(node).isSilent = true;
  }
  bench.hear(B, { kind: 'accept', record: recordOf(change) });
  bench.message(B, 'accepted');
  return bench;
}

const isAsked = (bench: CoreBench, node: NodeId): boolean =>
  bench.messages(node, 'prepare').length > 0;

const owns = (bench: CoreBench): boolean => bench.core.owned().unfinished > 0;

describe('the peer of an owner in a pair', () => {
  const PAIR = [B, SELF] as const;

  /** B answered the last ping with so many marks, a while before its process was gone. */
  function peer(marks = 0): CoreBench {
    const bench = replica({ rs: PAIR }, [B]);
    bench.advance(3000);
    const ping = bench.signs.findLast(({ message }) => message.kind === 'ping')?.message;
    assert.ok(ping?.kind === 'ping');
    bench.talking.delete(B);
    bench.hear(B, { kind: 'pong', serial: ping.serial, load: bench.core.load(), marks });
    return bench;
  }

  test('does not follow it on mere silence', () => {
    const bench = replica({ rs: PAIR }, [B]);
    bench.talking.delete(B);
    bench.advance(60_000);
    bench.take('dial');
    bench.take('hangUp');
    bench.messages(B, 'holding');
    bench.assertQuiet();
    assert.equal(owns(bench), false);
  });

  test('follows it alone when its port refused two dials soon after a ping without marks', () => {
    const bench = peer();
    bench.kill(B);
    bench.advance(200);
    assert.equal(owns(bench), true);
    assert.deepEqual(bench.record(JOB).header.accepted.epoch, epochOf(SELF, 2));
    assert.equal(bench.reply(bench.cancel(JOB)).kind, 'cancelled');
    assert.equal(bench.lackingOf(JOB), B);
  });

  test('then starts nothing for 6.6 s: nobody here knows when it last said yes', () => {
    const bench = peer();
    bench.kill(B);
    bench.advance(100);
    bench.link(C, { slots: 2 });
    bench.advance(REVOKE_WAIT_MS - 300);
    assert.deepEqual(bench.messages(C, 'offer'), []);
    bench.advance(400);
    assert.equal(bench.message(C, 'offer').job, JOB);
  });

  test('does not follow it when it had decided something alone', () => {
    const bench = peer(1);
    bench.kill(B);
    bench.advance(20_000);
    assert.equal(owns(bench), false);
  });

  test('does not follow it when the last clean ping is too long ago', () => {
    const bench = peer();
    bench.advance(5000);
    bench.unlink(B);
    for (let dials = 0; dials < 2; dials++) {
      bench.advance(300);
      bench.put({ kind: 'dialFailed', node: B, isRefused: true, reason: 'refused' });
    }
    bench.advance(20_000);
    assert.equal(owns(bench), false);
  });

  test('does not follow it when a dial was not refused but came to nothing', () => {
    const bench = peer();
    bench.unlink(B);
    for (let dials = 0; dials < 3; dials++) {
      bench.advance(300);
      bench.put({ kind: 'dialFailed', node: B, isRefused: false, reason: 'timeout' });
    }
    bench.advance(20_000);
    assert.equal(owns(bench), false);
  });

  test('loses that right with the first word of another life of it', () => {
    const bench = peer();
    bench.kill(B);
    bench.link(B, { slots: 0 }, bootOf(2));
    bench.replica(B).isSilent = true;
    bench.advance(3000);
    // It is asked, because it is back and leaves the job; alone nothing is decided.
    assert.equal(isAsked(bench, B), true);
    assert.equal(owns(bench), false);
  });

  test('follows it when it was forgotten', () => {
    const bench = replica({ rs: PAIR }, [B]);
    bench.talking.delete(B);
    bench.advance(8000);
    assert.equal(owns(bench), false);
    bench.put({ kind: 'forget', request: 'f' as never, node: B });
    bench.advance(200);
    assert.equal(owns(bench), true);
  });

  test('of a job whose attempt runs at a third node asks that one, and lets it run on', () => {
    const bench = replica({ rs: PAIR, state: grantedTo(C) }, [B]);
    bench.link(C, { slots: 2 });
    bench.advance(7000);
    bench.put({ kind: 'forget', request: 'f' as never, node: B });
    bench.advance(200);
    const { epoch, sets } = bench.messages(C, 'adopt').at(-1) ?? assert.fail('not asked');
    assert.deepEqual(epoch, epochOf(SELF, 2));
    assert.deepEqual(sets, { rs: PAIR, oldRs: [] });
  });
});
