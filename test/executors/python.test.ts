/** Task type `python` with the interpreter of this machine. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { Offers } from '../../src/core/facts.ts';
import type { JobSpec } from '../../src/core/job.ts';
import { makePython } from '../../src/executors/python.ts';
import { firstLine, order, startBench, temporaryFolder, textOf, until } from './attempts.ts';
import { isAlive } from './processes.ts';

const specOf = (params: object): Partial<JobSpec> => ({
  taskType: 'python',
  params: JSON.stringify(params),
});

async function startPython(t: TestContext, interpreter = 'python3') {
  const offers: Offers[] = [];
  const bench = await startBench(t, {
    taskTypes: [makePython(interpreter)],
    wantedTypes: ['python'],
    onOffers: (offer) => offers.push(offer),
  });
  return { ...bench, offers };
}

describe('a python job', () => {
  test('runs source with its arguments, and has its exit code', async (t) => {
    const { run } = await startPython(t);
    const code = 'import sys\nprint(sys.argv[1:], file=sys.stderr)\nprint(6 * 7)\nsys.exit(3)';
    const { end, stdout, stderr } = await run('', specOf({ code, args: ['a b', '-c'] }));
    assert.deepEqual(end, { tag: 'exited', code: 3 });
    assert.equal(textOf(stdout), '42\n');
    assert.equal(textOf(stderr), "['a b', '-c']\n");
  });

  test('takes its source as the command too', async (t) => {
    const { run } = await startPython(t);
    const { stdout } = await run('print("short")', { taskType: 'python' });
    assert.equal(textOf(stdout), 'short\n');
  });

  test('runs a script of its working folder, whatever it is called', async (t) => {
    const { run } = await startPython(t);
    const workingDir = temporaryFolder(t);
    writeFileSync(join(workingDir, '-V.py'), 'import sys; print("script", sys.argv[1])');
    const { stdout } = await run('', { ...specOf({ script: '-V.py', args: ['x'] }), workingDir });
    assert.equal(textOf(stdout), 'script x\n');
  });

  test('is seen as it prints, and its whole group ends with it', async (t) => {
    const { executor, reports } = await startPython(t);
    const code =
      'import subprocess\np = subprocess.Popen(["sleep", "1000"])\nprint(p.pid)\np.wait()';
    const attempt = order('', specOf({ code }));
    executor.run(attempt);
    const child = Number(await firstLine(executor, attempt));
    assert(isAlive(child));
    executor.end(attempt.job, attempt.fence, 60_000);
    assert.deepEqual((await reports.ended(attempt)).end, { tag: 'signalled', signal: 'SIGTERM' });
    assert(!isAlive(child));
  });

  test('with neither source nor script is refused by its executor', async (t) => {
    const { run } = await startPython(t);
    const { end } = await run('', specOf({ args: [] }));
    assert(end.tag === 'failed');
    assert.match(end.reason, /params must have either code .* or script/);
  });

  test('is offered with the version of its interpreter, and not at all without one', async (t) => {
    const { offers } = await startPython(t);
    await until('it was looked at', () => offers.length > 1);
    assert.deepEqual(
      offers.map(({ taskTypes }) => taskTypes),
      [[], ['python']],
    );
    assert.match(offers[1]?.typeVersions.python ?? '', /^3\.\d+/);
    assert.equal(offers[1]?.capabilities['python.version'], offers[1]?.typeVersions.python);
    const without = await startPython(t, '/nowhere/python3');
    await until('a problem is told', () => without.problems.length > 0);
    assert.deepEqual(without.offers.at(-1)?.taskTypes, []);
    assert.match(
      without.problems[0] ?? '',
      /python cannot be run here: .*Install Python 3.*--python/,
    );
  });
});
