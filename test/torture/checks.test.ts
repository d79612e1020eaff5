/** Each promise has a history that breaks it, and next to it one that may look so and does not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CheckName, checkHistory } from '../../src/torture/checks.ts';
import type { Cancel, Disturbance, History, Submit } from '../../src/torture/history.ts';
import {
  endWith,
  execution,
  fault,
  final,
  finalEnd,
  history,
  JOB,
  job,
  NODES,
  secondAttempt,
} from './histories.ts';

const broken = (more: Partial<History>): CheckName[] =>
  checkHistory(history(more)).map(({ name }) => name);

const assertKept = (more: Partial<History>): void =>
  assert.deepEqual(checkHistory(history(more)), []);

const assertBroken = (more: Partial<History>, ...names: CheckName[]): void =>
  assert.deepEqual(broken(more), names);

/** What the second attempt of the job printed and when it ended. */
const SECOND = { stdout: '1.node-x.2\n', finishedAt: '2026-11-21T12:00:21.000Z' };
const CUT_SHORT = { exitCode: undefined };
/** The second attempt decided, after the first one was cut short. */
const repeated = (more: Partial<History> = {}): Partial<History> => ({
  executions: [execution(CUT_SHORT), secondAttempt()],
  sightings: [],
  end: finalEnd(SECOND, 2),
  ...more,
});

test('a history without faults keeps every promise', () => assertKept({}));

test('a run that was interrupted is judged by what was seen', () => {
  assertKept({ end: undefined });
  assertBroken({ end: undefined, executions: [execution(), secondAttempt()] }, 'repeated');
});

describe('an acknowledged job', () => {
  test('is lost when it is not final in the end', () =>
    assertBroken({ end: endWith({ tag: 'unfinished', status: 'JOB_RUNNING' }) }, 'lost'));

  test('is lost when a single node does not know it', () => {
    const end = finalEnd();
    const views = new Map(end.views).set(
      'node3',
      new Map([[JOB, { tag: 'unknown', code: 'JOB_NOT_FOUND' }]]),
    );
    assertBroken({ end: { ...end, views } }, 'lost');
  });

  test('is lost when a node was not even asked', () => {
    const end = finalEnd();
    const views = new Map([...end.views].filter(([node]) => node !== 'node2'));
    assertBroken({ end: { ...end, views } }, 'lost');
  });

  test('that was refused or not answered is not missed', () => {
    const submits = (tag: 'refused' | 'unanswered'): Submit[] => [
      {
        node: 'node1',
        at: 0,
        tookMs: 1,
        living: 3,
        answer: tag === 'refused' ? { tag, code: 'BUSY' } : { tag },
      },
    ];
    const end = { ...finalEnd(), views: new Map(NODES.map((node) => [node, new Map()])) };
    for (const tag of ['refused', 'unanswered'] as const) {
      assertKept({ jobs: [job({ submits: submits(tag) })], executions: [], sightings: [], end });
    }
  });
});

describe('an outcome', () => {
  test('changes when a client saw another one before', () => {
    const sightings = [
      { at: 1, node: 'node3', job: JOB, owner: 'node1', final: final({ exitCode: 1 }) },
    ];
    assertBroken({ sightings }, 'second-outcome');
  });

  test('changes when two nodes differ only in which attempt decided', () => {
    const end = finalEnd();
    const other = { tag: 'final', final: final(SECOND), attempts: 2 } as const;
    const views = new Map(end.views).set('node3', new Map([[JOB, other]]));
    const executions = [execution(CUT_SHORT), secondAttempt()];
    const found = broken({ end: { ...end, views }, executions, faults: [fault()] });
    assert.ok(found.includes('second-outcome'));
  });

  test('is untrue when no execution came to that end', () => {
    assertBroken({ executions: [] }, 'untrue-outcome');
    assertBroken({ executions: [execution(CUT_SHORT)] }, 'untrue-outcome');
    assertBroken({ executions: [execution({ exitCode: 1 })] }, 'untrue-outcome');
  });

  test('without output is true only of an execution that could not print', () => {
    const silent = { end: finalEnd({ stdout: '' }), sightings: [] };
    assertBroken(silent, 'untrue-outcome');
    assertKept({ ...silent, executions: [execution({ isMute: true })] });
    const failed = [execution({ isMute: true, exitCode: 1 })];
    assertBroken({ ...silent, executions: failed }, 'untrue-outcome');
  });

  test('is untrue when it names the fence of another attempt', () =>
    assertBroken(
      { executions: [execution({ fence: '1.node-x.9' })], sightings: [] },
      'untrue-outcome',
    ));
});

describe('the end of a job', () => {
  test('is wrong when an attempt that was cut short counts as a failure', () => {
    const killed = { status: 'JOB_FAILED', exitCode: null, signal: 'SIGKILL' };
    assertBroken(
      { end: finalEnd(killed), sightings: [], executions: [execution(CUT_SHORT)] },
      'untrue-outcome',
      'wrong-end',
    );
  });

  test('is wrong when a command that fails has completed', () =>
    assertBroken({ jobs: [job({ exitCode: 3 })] }, 'wrong-end'));

  test('is right when a command that fails has failed', () =>
    assertKept({
      jobs: [job({ exitCode: 3 })],
      executions: [execution({ exitCode: 3 })],
      sightings: [],
      end: finalEnd({ status: 'JOB_FAILED', exitCode: 3 }),
    }));

  test('is wrong when nobody cancelled it', () =>
    assertBroken(
      { end: finalEnd({ status: 'JOB_CANCELLED', exitCode: null }), sightings: [] },
      'wrong-end',
    ));

  test('is lost only after three attempts, and at_most_once after none is wrong', () => {
    const lost = { status: 'JOB_LOST', exitCode: null, stdout: '' };
    const ends = (attempts: number, kind: 'short' | 'at-most-once') =>
      broken({ end: finalEnd(lost, attempts), sightings: [], jobs: [job({ kind })] });
    assert.deepEqual(ends(2, 'short'), ['wrong-end']);
    assert.deepEqual(ends(3, 'short'), []);
    assert.deepEqual(ends(0, 'at-most-once'), ['wrong-end']);
  });
});

describe('an at_most_once job that was lost', () => {
  const lost = (more: Partial<History>): Partial<History> => ({
    jobs: [job({ kind: 'at-most-once' })],
    executions: [execution(CUT_SHORT)],
    sightings: [],
    end: finalEnd({ status: 'JOB_LOST', exitCode: null, stdout: '' }),
    ...more,
  });

  test('needs a fault that ended it', () => {
    assertBroken(lost({}), 'wrong-end');
    assertKept(lost({ faults: [fault()] }));
    assertBroken(lost({ faults: [fault({ to: 12_000 })] }), 'wrong-end');
  });

  test('may not have come to its end before the fault', () => {
    const executions = [execution({ last: 10_100 })];
    const faults = [fault({ from: 10_800, to: 20_000 })];
    assertBroken(lost({ executions, faults }), 'wrong-end');
  });
});

describe('a second execution', () => {
  test('needs a cause', () => assertBroken(repeated(), 'repeated'));

  test('has one when its node was killed', () => assertKept(repeated({ faults: [fault()] })));

  test('has none when its node was back in time to take it up again', () => {
    for (const kind of ['kill', 'restart', 'rolling'] as const) {
      assertBroken(repeated({ faults: [fault({ kind, to: 14_500 })] }), 'repeated');
      assertKept(repeated({ faults: [fault({ kind, to: 14_501 })] }));
    }
  });

  test('has one when two outages left no time to renew in between', () => {
    const first = fault({ from: 10_500, to: 13_000 });
    const soon = fault({ from: 14_999, to: 17_000 });
    assertKept(repeated({ faults: [soon, first] }));
    assertBroken(repeated({ faults: [first, { ...soon, from: 15_000 }] }), 'repeated');
    assertBroken(repeated({ faults: [first, { ...soon, kind: 'udp' }] }), 'repeated');
  });

  test('has none when the earlier outage was before it began', () => {
    const faults = [fault({ from: 6000, to: 8900 }), fault({ from: 10_100, to: 13_000 })];
    assertBroken(repeated({ faults }), 'repeated');
  });

  test('has one after a moment when its host was gone or its node handed it back', () => {
    for (const kind of ['host', 'drain'] as const)
      assertKept(repeated({ faults: [fault({ kind, to: 10_600 })] }));
  });

  test('has none when its node was out of reach for less than a lease', () => {
    for (const kind of ['freeze', 'host-freeze', 'cut', 'one-way', 'loss'] as const) {
      assertBroken(repeated({ faults: [fault({ kind, to: 13_500 })] }), 'repeated');
      assertKept(repeated({ faults: [fault({ kind, to: 13_501 })] }));
    }
  });

  test('never has one in lost datagrams or a full disk, its own or those of the others', () => {
    for (const kind of ['udp', 'disk'] as const) {
      const faults = ['node1', 'node2', 'node3'].map((node) =>
        fault({ kind, nodes: [node], to: 19_000 }),
      );
      assertBroken(repeated({ faults }), 'repeated');
    }
  });

  test('has none when another node was killed, even the owner', () =>
    assertBroken(repeated({ faults: [fault({ nodes: ['node1'] })] }), 'repeated'));

  test('has none when the fault was over before it began, or came after', () => {
    const early = fault({ from: 5000, to: 8900 });
    const late = fault({ from: 20_001, to: 30_000 });
    assertBroken(repeated({ faults: [early, late] }), 'repeated');
  });

  test('has one when two other nodes were away at once for a lease', () => {
    const faults = [
      fault({ nodes: ['node1'], from: 11_000, to: 18_000 }),
      fault({ nodes: ['node3'], from: 13_000, to: 17_000 }),
    ];
    assertKept(repeated({ faults }));
  });

  test('has none when they were away one after the other, or at once for a moment', () => {
    const first = fault({ nodes: ['node1'], from: 10_500, to: 14_000 });
    for (const from of [14_000, 12_000]) {
      const second = fault({ nodes: ['node3'], from, to: 19_000 });
      assertBroken(repeated({ faults: [first, second] }), 'repeated');
    }
  });

  test('has one when another node was away just after a third had left the sets', () => {
    const drain = fault({ kind: 'drain', nodes: ['node1'], from: 9000, to: 11_000 });
    const freeze = (from: number) =>
      fault({ kind: 'freeze', nodes: ['node3'], from, to: from + 6000 });
    assertKept(repeated({ faults: [drain, freeze(12_000)] }));
    assertBroken(repeated({ faults: [drain, freeze(14_500)] }), 'repeated');
    assertBroken(repeated({ faults: [freeze(12_000)] }), 'repeated');
    const restart = { ...drain, kind: 'restart', from: 10_200 } as const;
    assertBroken(repeated({ faults: [restart, freeze(12_000)] }), 'repeated');
  });

  test('has one when a node was away at its birth, and its owner before that was taken in', () => {
    const away = fault({ nodes: ['node1'], from: 8500, to: 12_500 });
    const owner = fault({ nodes: ['node3'], from: 12_000, to: 17_000 });
    const born = (at: number) => [job({ submits: job().submits.map((one) => ({ ...one, at })) })];
    assertKept(repeated({ faults: [away, owner], jobs: born(9000) }));
    assertBroken(repeated({ faults: [away, owner], jobs: born(5000) }), 'repeated');
  });

  test('has one when its own node and a majority were away in turn, and none for a moment', () => {
    const others = (to: number) =>
      ['node1', 'node3'].map((node) => fault({ nodes: [node], from: 12_000, to }));
    const own = fault({ nodes: ['node2'], from: 13_500, to: 17_000 });
    assertKept(repeated({ faults: [...others(14_000), own] }));
    assertBroken(repeated({ faults: [...others(12_200), own] }), 'repeated');
    // It was up for a moment, and linked to nobody yet.
    const before = fault({ nodes: ['node2'], from: 11_500, to: 13_950 });
    const after = ['node1', 'node3'].map((node) =>
      fault({ nodes: [node], from: 14_000, to: 16_500 }),
    );
    assertKept(repeated({ faults: [before, ...after] }));
  });

  test('has one when its node stood still as soon as it was back, by its own log', () => {
    const faults = [fault({ to: 12_500 })];
    const about = { kind: 'standstill', nodes: ['node2'] } as const;
    const still = (from: number, to: number): Disturbance => ({ ...about, from, to });
    const both = [still(13_000, 13_600), still(13_900, 14_700)];
    assertKept(repeated({ faults, standstills: both }));
    assertBroken(repeated({ standstills: both }), 'repeated');
    assertBroken(repeated({ faults, standstills: [still(13_900, 14_700)] }), 'repeated');
    assertBroken(repeated({ faults, standstills: [still(13_000, 14_400)] }), 'repeated');
    const elsewhere = both.map((one) => ({ ...one, nodes: ['node3'] }));
    assertBroken(repeated({ faults, standstills: elsewhere }), 'repeated');
  });

  test('has none when nobody but nodes that came later to its sets was missing', () => {
    const faults = ['node1', 'node3'].map((node) => fault({ nodes: [node], from: 8500, to: 9000 }));
    const submits = job().submits.map((one) => ({ ...one, at: 8900 }));
    assertBroken(repeated({ faults, jobs: [job({ submits })] }), 'repeated');
  });

  test('of a pair has one when the other node was away', () => {
    const faults = [fault({ nodes: ['node1'], from: 11_000, to: 18_000 })];
    const end = finalEnd(SECOND, 2);
    const nodes = ['node1', 'node2'];
    assertKept(repeated({ faults, nodes, end }));
  });

  test('is one too many for at_most_once, whatever the cause', () =>
    assertBroken(
      repeated({ faults: [fault()], jobs: [job({ kind: 'at-most-once' })] }),
      'repeated-at-most-once',
    ));
});

describe('two executions at a time', () => {
  const beside = (other: string | undefined, more: Partial<History> = {}): Partial<History> =>
    repeated({
      executions: [execution(CUT_SHORT), secondAttempt({ overlaps: [{ other }] })],
      faults: [fault()],
      ...more,
    });

  test('are never allowed when their node was killed or its process frozen', () => {
    assertBroken(beside('1.node-x.1'), 'overlap');
    assertBroken(beside('1.node-x.1', { faults: [fault({ kind: 'freeze' })] }), 'overlap');
  });

  test('are found when all that is known is that the lock was held', () =>
    assertBroken(beside(undefined), 'overlap'));

  test('are allowed when the host of the older one was frozen', () => {
    const faults = [fault({ kind: 'host-freeze' })];
    assertKept(beside('1.node-x.1', { faults }));
    assertKept(beside(undefined, { faults }));
  });

  test('are allowed to a job that asked to run on without its lease', () =>
    assertKept(beside('1.node-x.1', { jobs: [job({ kind: 'unleased' })] })));

  test('are not allowed when the host of the newer one was frozen', () => {
    const faults = [fault(), fault({ kind: 'host-freeze', nodes: ['node3'] })];
    assertBroken(beside('1.node-x.1', { faults }), 'overlap');
  });

  test('are told although the older one is not known', () =>
    assertBroken({ executions: [execution({ overlaps: [{ other: undefined }] })] }, 'overlap'));
});

describe('a cancelled job', () => {
  const cancels = (answer: Cancel['answer']): Cancel[] => [
    { node: 'node1', answeredAt: 10_200, job: JOB, answer },
  ];
  const cancelled = { status: 'JOB_CANCELLED', exitCode: null };

  test('may not end otherwise once that was promised', () => {
    for (const answer of ['cancelled', 'cancelling'] as const) {
      assertBroken({ jobs: [job({ cancels: cancels(answer) })] }, 'uncancelled');
    }
  });

  test('may end as it likes when nothing was promised', () => {
    for (const answer of ['ended', 'undecided'] as const) {
      assertKept({ jobs: [job({ cancels: cancels(answer) })] });
    }
  });

  test('may not begin after it was cancelled before it ran', () => {
    const more = {
      jobs: [job({ cancels: cancels('cancelled') })],
      sightings: [],
      end: finalEnd(cancelled),
    };
    const started = (start: number) => [execution({ ...CUT_SHORT, start, last: start + 100 })];
    assertKept({ ...more, executions: started(10_100) });
    assertBroken({ ...more, executions: started(10_300) }, 'uncancelled');
    const granted = [job({ cancels: cancels('cancelling') })];
    assertKept({ ...more, jobs: granted, executions: started(10_300) });
  });
});

describe('a key', () => {
  const submit = (id: string, at: number): Submit => ({
    node: 'node1',
    at,
    tookMs: 10,
    living: 3,
    answer: { tag: 'acknowledged', job: id, durability: 'replicated' },
  });
  const twoIds = job({
    kind: 'keyed',
    key: 'k',
    submits: [submit(JOB, 9900), submit('job-b', 9900)],
  });
  const bothFinal = (conflicts: string) => ({
    ...finalEnd(),
    conflicts,
    views: new Map(
      NODES.map((node) => [
        node,
        new Map([
          [JOB, { tag: 'final', final: final(), attempts: 1 } as const],
          ['job-b', { tag: 'final', final: final(), attempts: 1 } as const],
        ]),
      ]),
    ),
  });
  const executions = [execution(), execution({ job: 'job-b' })];

  test('is one job', () =>
    assertBroken({ jobs: [twoIds], executions, end: bothFinal('') }, 'second-birth'));

  test('may be two when they are listed as a conflict and a fault was near', () => {
    const end = bothFinal(`{"jobs": ["${JOB}", "job-b"]}`);
    assertKept({
      jobs: [twoIds],
      executions,
      end,
      faults: [fault({ kind: 'cut', from: 3000, to: 5000 })],
    });
    assertBroken({ jobs: [twoIds], executions, end }, 'second-birth');
    const half = bothFinal(`{"jobs": ["${JOB}"]}`);
    assertBroken({ jobs: [twoIds], executions, end: half, faults: [fault()] }, 'second-birth');
  });

  test('whose two jobs share an id is excused only by the list', () => {
    const keyed = [job({ kind: 'keyed', key: 'k' })];
    const twice = {
      jobs: keyed,
      executions: [execution(), secondAttempt({ attempt: 1, fence: '1.node-y.1', node: 'node2' })],
      sightings: [
        {
          at: 1,
          node: 'node3',
          job: JOB,
          owner: 'node3',
          final: final({ stdout: '1.node-y.1\n' }),
        },
      ],
      faults: [fault({ kind: 'cut', nodes: ['node1'], from: 9000, to: 9950 })],
    };
    assertBroken(twice, 'second-outcome', 'repeated');
    assertKept({ ...twice, end: { ...finalEnd(), conflicts: JOB } });
    const beside = twice.executions.map((one, i) => ({
      ...one,
      overlaps: i === 0 ? [] : [{ other: undefined }],
    }));
    assertBroken({ ...twice, executions: beside }, 'second-outcome', 'repeated', 'overlap');
    assertKept({ ...twice, executions: beside, end: { ...finalEnd(), conflicts: JOB } });
    // The lists of an interrupted run were not read, so only a fault nearby can excuse it.
    assertKept({ ...twice, end: undefined });
    assertBroken({ ...twice, end: undefined, faults: [] }, 'repeated');
    // A job without a key has no business in that list.
    assertBroken(
      { ...twice, jobs: [job()], end: { ...finalEnd(), conflicts: JOB } },
      'second-outcome',
      'repeated',
    );
  });
});

describe('the nodes', () => {
  test('do not answer what the API does not promise', () =>
    assertBroken(
      {
        oddAnswers: [{ at: 1, node: 'node1', request: 'GET job', job: JOB, code: 'JOB_NOT_FOUND' }],
      },
      'odd-answer',
    ));

  test('deny a job only while the one node that kept it has left', () => {
    const denied = (durability: string, node: string, kind: 'drain' | 'kill'): Partial<History> => {
      const answer = { tag: 'acknowledged', job: JOB, durability } as const;
      const submits = job().submits.map((submit) => ({ ...submit, answer }));
      const odd = { at: 12_000, node, request: 'GET job', job: JOB, code: 'JOB_NOT_FOUND (no)' };
      return { oddAnswers: [odd], faults: [fault({ kind })], jobs: [job({ submits })] };
    };
    assertKept(denied('local', 'node1', 'drain'));
    assertBroken(denied('replicated', 'node1', 'drain'), 'odd-answer');
    assertBroken(denied('local', 'node2', 'drain'), 'odd-answer');
    assertBroken(denied('local', 'node1', 'kill'), 'odd-answer');
  });

  test('do not end by themselves', () =>
    assertBroken({ ownEnds: [{ at: 1, node: 'node1', how: 'exit code 1' }] }, 'own-end'));

  test('see each other within ten seconds of healing', () => {
    const end = finalEnd();
    assertKept({ end: { ...end, agreedAt: 70_000 } });
    assertBroken({ end: { ...end, agreedAt: 70_001 } }, 'strangers');
    const disagreements = ['node1 has node2 as dead'];
    assertBroken({ end: { ...end, agreedAt: undefined, disagreements } }, 'strangers');
  });

  test('leave nothing behind', () =>
    assertBroken({ end: { ...finalEnd(), leftovers: ['process 1: sh'] } }, 'left-behind'));
});
