import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { duplicates, faultEffects, measure, timesOf } from '../../src/torture/measures.ts';
import { pageOf } from '../../src/torture/page.ts';
import { makeReport, type RunFacts, reportLines } from '../../src/torture/report.ts';
import {
  execution,
  fault,
  final,
  finalEnd,
  history,
  JOB,
  job,
  secondAttempt,
} from './histories.ts';

const FACTS: RunFacts = {
  seed: 7,
  repeat: 'mesh torture --seed 7',
  version: '0.0.0',
  startedAt: '2026-11-21T12:00:00.000Z',
  tookMs: 65_000,
  isInterrupted: false,
  skipped: ['the fault cut: it needs --namespaces.'],
  kept: undefined,
};
const CUT_SHORT = execution({ exitCode: undefined });

describe('times', () => {
  test('are by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
    assert.deepEqual(timesOf(hundred), { count: 100, p50Ms: 50, p99Ms: 99, worstMs: 100 });
    assert.deepEqual(timesOf([4]), { count: 1, p50Ms: 4, p99Ms: 4, worstMs: 4 });
    assert.equal(timesOf([]), undefined);
  });
});

describe('what a fault did', () => {
  test('is counted for what ran on its node when it began', () => {
    const [effect] = faultEffects(
      history({ executions: [CUT_SHORT, secondAttempt()], faults: [fault()] }),
    );
    assert.deepEqual(effect, {
      kind: 'kill',
      count: 1,
      ran: 1,
      survived: 0,
      again: { count: 1, p50Ms: 9500, p99Ms: 9500, worstMs: 9500 },
    });
  });

  test('is nothing to an execution that came to its end, was over, or ran elsewhere', () => {
    const lived = execution({ last: 14_000 });
    const over = execution({ job: 'job-b', last: 10_400 });
    const elsewhere = execution({ job: 'job-c', node: 'node1', last: 14_000 });
    const [effect] = faultEffects(
      history({ executions: [lived, over, elsewhere], faults: [fault()] }),
    );
    assert.deepEqual([effect?.ran, effect?.survived, effect?.again], [1, 1, undefined]);
  });
});

describe('measures', () => {
  const named = (what: string, more: Parameters<typeof history>[0]) =>
    measure(history(more)).find((one) => one.what.startsWith(what));

  test('tell how long a submit took, by the number of disks', () => {
    const { submits } = job();
    const pair = submits.map((submit) => ({ ...submit, living: 2, tookMs: 5 }));
    const jobs = [job(), job({ submits: pair })];
    assert.equal(named('submit → acknowledged (replicated, three)', { jobs })?.p50Ms, 12);
    assert.equal(named('submit → acknowledged (replicated, pair)', { jobs })?.p50Ms, 5);
  });

  test('tell when a job of a killed executor started elsewhere, not on the same node', () => {
    const at = (node: string) => ({
      executions: [CUT_SHORT, secondAttempt({ node })],
      faults: [fault()],
    });
    assert.equal(named('executor process killed', at('node3'))?.worstMs, 9500);
    assert.equal(named('executor process killed', at('node2')), undefined);
  });

  test('tell it from the last fault that the killed execution met', () => {
    const executions = [{ ...CUT_SHORT, last: 16_500 }, secondAttempt()];
    const later = fault({ kind: 'host', from: 17_000, to: 19_000 });
    const faults = [fault(), later];
    assert.equal(named('executor process killed', { executions, faults }), undefined);
    assert.equal(named('executor host gone', { executions, faults })?.worstMs, 3000);
  });

  test('keep apart what had to wait for a second node that was away, too', () => {
    const executions = [CUT_SHORT, secondAttempt()];
    const measured = (other: Partial<ReturnType<typeof fault>>): string[] =>
      measure(history({ executions, faults: [fault(), fault(other)] }))
        .map(({ what }) => what)
        .filter((what) => what.startsWith('executor process killed'));
    const alone = ['executor process killed → its job starts elsewhere'];
    const crowded = ['executor process killed → its job starts elsewhere, others away too'];
    assert.deepEqual(
      measured({ kind: 'cut', nodes: ['node1'], from: 12_000, to: 14_000 }),
      crowded,
    );
    assert.deepEqual(measured({ kind: 'cut', nodes: ['node1'], from: 5000, to: 9000 }), crowded);
    assert.deepEqual(measured({ kind: 'cut', nodes: ['node1'], from: 4000, to: 7000 }), alone);
    assert.deepEqual(measured({ kind: 'cut', nodes: ['node1'], from: 20_500 }), alone);
    assert.deepEqual(measured({ kind: 'udp', nodes: ['node1'], from: 12_000 }), alone);
  });

  test('tell when a job of a killed owner was owned elsewhere while it was away', () => {
    const seen = (at: number, owner: string) => ({
      at,
      node: 'node3',
      job: JOB,
      owner,
      final: undefined,
    });
    const faults = [fault({ nodes: ['node1'] })];
    const before = seen(10_000, 'node1');
    const sightings = [before, seen(12_500, 'node3')];
    assert.equal(named('owner process killed', { sightings, faults })?.p50Ms, 2000);
    const late = [before, seen(15_500, 'node3')];
    assert.equal(named('owner process killed', { sightings: late, faults }), undefined);
    const ended = [{ ...before, final: final() }, seen(12_500, 'node3')];
    assert.equal(named('owner process killed', { sightings: ended, faults }), undefined);
  });
});

describe('repeated executions', () => {
  const executions = [CUT_SHORT, secondAttempt()];

  test('are listed with their cause, or without one', () => {
    const [caused] = duplicates(history({ executions, faults: [fault()] }));
    assert.equal(caused?.cause, 'kill of its node');
    assert.equal(duplicates(history({ executions }))[0]?.cause, undefined);
  });

  test('name the newest of several causes', () => {
    const faults = [fault({ kind: 'restart', from: 5000, to: 9100 }), fault()];
    for (const ordered of [faults, faults.toReversed()]) {
      const [one] = duplicates(history({ executions, faults: ordered }));
      assert.equal(one?.cause, 'kill of its node');
    }
  });

  test('of a key that became two jobs are named so when the mesh lists it', () => {
    const keyed = { executions, jobs: [job({ kind: 'keyed', key: 'k' })] };
    const listed = history({ ...keyed, end: { ...finalEnd(), conflicts: JOB } });
    assert.equal(duplicates(listed)[0]?.cause, 'a key that became two jobs');
    assert.equal(duplicates(history(keyed))[0]?.cause, undefined);
  });

  test('that overlap are not excused by what excuses a repeat', () => {
    const beside = [CUT_SHORT, secondAttempt({ overlaps: [{ other: '1.node-x.1' }] })];
    const [one] = duplicates(history({ executions: beside, faults: [fault()] }));
    assert.equal(one?.cause, undefined);
  });
});

describe('a report', () => {
  test('is clean when nothing was broken', () => {
    const report = makeReport(history(), FACTS, 0);
    assert.equal(report.verdict, 'clean');
    assert.equal(reportLines(report).at(-1), 'Every promise was kept.');
    assert.deepEqual(report.counts.finals, { JOB_COMPLETED: 1 });
    assert.ok(reportLines(report).includes('Not done: the fault cut: it needs --namespaces.'));
  });

  test('of an interrupted run does not claim more than was seen', () => {
    const run = { ...FACTS, isInterrupted: true };
    const report = makeReport(history({ end: undefined }), run, 0);
    assert.equal(report.verdict, 'interrupted');
    assert.ok(!reportLines(report).includes('Every promise was kept.'));
  });

  test('names a broken promise, its jobs, the evidence and how to try again', () => {
    const run = { ...FACTS, kept: '/tmp/kept' };
    const report = makeReport(history({ executions: [] }), run, 0);
    const text = reportLines(report).join('\n');
    assert.equal(report.verdict, 'broken');
    for (const word of ['BROKEN  G2', JOB, '/tmp/kept', FACTS.repeat])
      assert.ok(text.includes(word));
  });

  test('counts jobs that were lost or changed, each once', () => {
    const end = finalEnd({ exitCode: 1 });
    const views = new Map(end.views).set(
      'node3',
      new Map([[JOB, { tag: 'unfinished', status: 'JOB_RUNNING' }]]),
    );
    const { counts } = makeReport(history({ end: { ...end, views } }), FACTS, 2);
    assert.deepEqual([counts.lost, counts.secondOutcomes, counts.logErrors], [1, 1, 2]);
  });
});

describe('the page', () => {
  const broken = history({
    executions: [CUT_SHORT, secondAttempt({ label: '<b>&"' })],
    oddAnswers: [{ at: 1, node: '<script>', request: 'submit', job: undefined, code: 'INTERNAL' }],
    faults: [fault()],
    sightings: [
      { at: 1, node: 'node3', job: JOB, owner: 'node1', final: undefined },
      { at: 12_000, node: 'node3', job: JOB, owner: 'node3', final: undefined },
    ],
  });
  const page = pageOf(broken, makeReport(broken, FACTS, 0));

  test('needs nothing else', () => {
    const links = page.match(/\b(?:src|href|url|import)\s*[=(][^>]*/g) ?? [];
    assert.deepEqual(links, []);
    assert.deepEqual(page.match(/https?:[^"]*/g), ['http://www.w3.org/2000/svg']);
  });

  test('shows what comes from elsewhere as text', () => {
    assert.ok(!page.includes('<script>') && !page.includes('<b>&"'));
    assert.ok(page.includes('&#60;script&#62;'));
  });

  test('has a lane per node, its faults, executions and takeovers', () => {
    for (const node of broken.nodes) assert.ok(page.includes(`>${node}</text>`));
    assert.match(page, /<rect [^>]*><title>kill of node2/);
    assert.match(page, /<rect [^>]*><title>short-1 job-a, attempt 1 [^<]*cut short<\/title>/);
    assert.match(page, /<path [^>]*><title>job-a: owned by node3, before by node1/);
    assert.ok(!page.includes('NaN'));
  });

  test('of a run in which nothing happened is drawn all the same', () => {
    const nothing = history({ jobs: [], executions: [], sightings: [], nodes: [], end: undefined });
    const facts = { ...FACTS, tookMs: 0, isInterrupted: true };
    assert.ok(!pageOf(nothing, makeReport(nothing, facts, 0)).includes('NaN'));
  });
});
