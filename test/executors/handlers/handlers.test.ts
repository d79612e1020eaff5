import assert from 'node:assert/strict';
import { existsSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Offers } from '../../../src/core/facts.ts';
import { Handlers } from '../../../src/executors/handlers/handlers.ts';
import {
  type Bench,
  firstLine,
  LIMIT_BYTES,
  order,
  release,
  startBench,
  temporaryFolder,
  textOf,
  until,
} from '../attempts.ts';
import { isAlive } from '../processes.ts';

const SAMPLES = fileURLToPath(new URL('sample-tasks.ts', import.meta.url));
const DEADLINE = { timeout: 60_000 };

interface HandlerBench extends Bench {
  readonly offers: Offers[];
  readonly handlers: Handlers;
  call(
    taskType: string,
    params?: unknown,
  ): Promise<Awaited<ReturnType<Bench['run']>> & { result: unknown }>;
}

async function start(t: TestContext, files = [SAMPLES]): Promise<HandlerBench> {
  const offers: Offers[] = [];
  const problems: string[] = [];
  const handlers = new Handlers({
    files,
    isWatching: false,
    heapBytes: 128 * 1024 ** 2,
    reserved: ['shell'],
    nodeEnv: { PATH: process.env.PATH, MESH_KEY: 'secret' },
    onProblem: (sentence) => problems.push(sentence),
    onNotice: () => {},
  });
  const onOffers = (offer: Offers): void => void offers.push(offer);
  const bench = await startBench(t, { sources: [handlers], onOffers });
  // A start does not wait long for modules.
  await until('it is served', () => offers.at(-1)?.taskTypes.includes('add') === true);
  const call = async (taskType: string, params: unknown = {}) => {
    const ended = await bench.run('', { taskType, params: JSON.stringify(params) });
    const text = ended.receipt?.result;
    return { ...ended, result: text === undefined ? undefined : JSON.parse(text) };
  };
  return { ...bench, offers, problems, handlers, call };
}

describe('a handler', () => {
  test(
    'is offered with a version, and returns a result, progress and output',
    DEADLINE,
    async (t) => {
      const { offers, call, reports } = await start(t);
      assert.ok(offers.at(-1)?.taskTypes.includes('add'));
      assert.match(offers.at(-1)?.typeVersions.add ?? '', /^[0-9a-f]{8}$/);
      const ended = await call('add', { a: 2 });
      assert.deepEqual(ended.end, { tag: 'exited', code: 0 });
      const { pid, ...rest } = ended.result as Record<string, unknown>;
      assert.equal(typeof pid, 'number');
      const { job } = ended;
      assert.deepEqual(rest, { sum: 3, job, attempt: 1, fence: (rest as { fence: string }).fence });
      assert.equal(textOf(ended.stdout), 'adding { a: 2, b: 1 }\n');
      assert.equal(textOf(ended.stderr), 'on stderr\n');
      assert.deepEqual(ended.receipt?.progress, { percent: 50, message: 'half' });
      assert.ok(reports.of(ended.order).some(({ kind }) => kind === 'running'));
    },
  );

  test('meets a warm process, in its own folder and environment', DEADLINE, async (t) => {
    const { call } = await start(t);
    const first = (await call('add', { a: 1 })).result as { pid: number };
    const second = (await call('add', { a: 1 })).result as { pid: number };
    assert.equal(first.pid, second.pid);
    const { result } = await call('surroundings');
    const { folder, cwd, env, read } = result as Record<string, string> & {
      env: NodeJS.ProcessEnv;
    };
    assert.equal(cwd, folder);
    assert.equal(read, 'text');
    await until('its folder is removed', () => !existsSync(String(folder)));
    assert.ok(env?.MESH_JOB_ID);
    assert.equal(env?.MESH_KEY, undefined);
  });

  test('leaves no trace on the disk where it needs none', DEADLINE, async (t) => {
    const { call, folder } = await start(t);
    assert.deepEqual((await call('nothing')).end, { tag: 'exited', code: 0 });
    assert.deepEqual(readdirSync(join(folder, 'output')), []);
    const [own, ...others] = readdirSync(join(folder, 'work'));
    assert.deepEqual(others, []);
    assert.deepEqual((await call('nothing')).end, { tag: 'exited', code: 0 });
    assert.deepEqual(readdirSync(join(folder, 'work')), [own]);
  });

  test('finds its folder empty, whatever the one before it left', DEADLINE, async (t) => {
    const { call, folder } = await start(t);
    const folders = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const { result, end } = await call('leaves');
      assert.deepEqual(end, { tag: 'exited', code: 0 });
      const { found, cwd, pid } = result as { found: string[]; cwd: string; pid: number };
      assert.deepEqual(found, []);
      // Its process has left it before it is removed.
      assert.equal(readlinkSync(`/proc/${pid}/cwd`), process.cwd());
      folders.add(cwd);
    }
    assert.equal(folders.size, 3);
    await until('they are removed', () => readdirSync(join(folder, 'work')).length === 0);
  });

  test('works in the folder that its job names, and the next one does not', DEADLINE, async (t) => {
    const { run, call } = await start(t);
    const named = temporaryFolder(t);
    const { end, receipt } = await run('', { taskType: 'leaves', workingDir: named });
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    const { cwd: there, pid } = JSON.parse(receipt?.result ?? '{}') as Record<string, string>;
    assert.equal(there, named);
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), process.cwd());
    assert.deepEqual(readdirSync(named), ['left']);
    const { cwd } = (await call('surroundings')).result as { cwd: string };
    assert.notEqual(cwd, named);
  });

  test('that throws, or returns what is no result, fails with the reason', DEADLINE, async (t) => {
    const { call } = await start(t);
    const reasonOf = async (name: string, params?: unknown): Promise<string> => {
      const { end } = await call(name, params);
      assert.equal(end.tag, 'failed');
      return end.tag === 'failed' ? end.reason : '';
    };
    assert.equal(await reasonOf('throws'), 'RangeError: out of reach');
    assert.match(await reasonOf('huge'), /65538 bytes of JSON, and may have 65536/);
    assert.match(await reasonOf('circle'), /no JSON form/);
    assert.match(await reasonOf('add', { a: 'x' }), /params of the task type add: a: /);
    assert.equal((await call('nothing')).receipt?.result, undefined);
  });

  test(
    'that ends its process fails with how it did, and the next one runs',
    DEADLINE,
    async (t) => {
      const { call } = await start(t);
      for (const [name, reason] of [
        ['exits', /exit code 0.*before it returned/],
        ['rejects', /a rejection that nobody caught: Error: nobody waits for me/],
        ['segfaults', /ended by SIGSEGV/],
        ['heap', /memory/],
        ['buffers', /more than 192 MiB of memory/],
      ] as const) {
        const { end } = await call(name);
        assert.equal(end.tag, 'failed', name);
        assert.match(end.tag === 'failed' ? end.reason : '', reason);
      }
      assert.deepEqual((await call('nothing')).end, { tag: 'exited', code: 0 });
    },
  );

  test('that loops for ever is killed when its grace time is over', DEADLINE, async (t) => {
    const { executor, reports } = await start(t);
    const looping = order('', { taskType: 'loops' });
    executor.run(looping);
    const pid = Number(await firstLine(executor, looping));
    executor.end(looping.job, looping.fence, 200);
    await reports.ended(looping);
    await until('its process is gone', () => !isAlive(pid));
  });

  test('is told by its signal that it is to end, and may tidy up', DEADLINE, async (t) => {
    const { executor, reports } = await start(t);
    const attempt = order('', { taskType: 'tidies' });
    executor.run(attempt);
    await firstLine(executor, attempt);
    executor.end(attempt.job, attempt.fence, 20_000);
    assert.equal(textOf((await reports.ended(attempt)).stdout), 'begun\ntidied\n');
  });

  test('is killed in its process when the lease it began with is over', DEADLINE, async (t) => {
    const { executor, reports } = await start(t);
    const looping = order('', { taskType: 'loops' });
    executor.run({ ...looping, lease: { tag: 'leased', leftMs: 300 } });
    const { end, stdout } = await reports.ended(looping);
    assert.equal(end.tag, 'failed');
    assert.equal(isAlive(Number(textOf(stdout))), false);
  });

  test('is killed in its process when its lease is over, though it loops', DEADLINE, async (t) => {
    const { executor, reports } = await start(t);
    const looping = order('', { taskType: 'loops' });
    executor.run({ ...looping, lease: { tag: 'leased', leftMs: 60_000 } });
    const pid = Number(await firstLine(executor, looping));
    executor.prolong(looping.job, looping.fence, { tag: 'leased', leftMs: 300 });
    const { end } = await reports.ended(looping);
    assert.equal(end.tag, 'failed');
    assert.equal(isAlive(pid), false);
  });

  test('leaves none of the processes that it started', DEADLINE, async (t) => {
    const { call } = await start(t);
    const { stdout, end } = await call('children');
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    const [, pid] = /(\d+)\n/.exec(textOf(stdout)) ?? [];
    assert.match(textOf(stdout), /from a child/);
    assert.equal(isAlive(Number(pid)), false);
  });

  test('tells its newest progress with its end', DEADLINE, async (t) => {
    const { call } = await start(t);
    const { receipt } = await call('pages');
    assert.deepEqual(receipt, {
      progress: { percent: 100, message: 'page 100' },
      result: '"done"',
    });
  });
});

describe('a handler that has much to say', () => {
  test('does not keep its node busy with its progress', DEADLINE, async (t) => {
    const { call, reports } = await start(t);
    const { receipt, order: attempt } = await call('floods');
    assert.equal(receipt?.progress?.message, 'step 299999');
    assert.ok(reports.of(attempt).length < 100);
  });

  test('is kept to the limit of its output, also what its children print', DEADLINE, async (t) => {
    const { call } = await start(t);
    const { stdout, end } = await call('shouts');
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.ok(stdout.isTruncated);
    assert.ok(stdout.totalBytes <= 2 * LIMIT_BYTES, String(stdout.totalBytes));
  });
});

describe('a module', () => {
  interface Judged {
    readonly types: string[];
    readonly problems: string[];
  }

  const judged = async (t: TestContext, text: string, name = 'tasks.ts'): Promise<Judged> => {
    const file = join(temporaryFolder(t), name);
    writeFileSync(file, text);
    const problems: string[] = [];
    const handlers = new Handlers({
      files: [file],
      isWatching: false,
      heapBytes: 64 * 1024 ** 2,
      reserved: ['shell'],
      nodeEnv: process.env,
      onProblem: (sentence) => problems.push(sentence.replaceAll(file, 'FILE')),
      onNotice: () => {},
    });
    release(t, () => handlers.close());
    await handlers.start(() => {});
    await until('it is judged', () => problems.length + handlers.types().length > 0);
    return { types: handlers.types().map((type) => type.name), problems };
  };

  const problemsOf = async (t: TestContext, text: string): Promise<string[]> => {
    const { types, problems } = await judged(t, text);
    assert.deepEqual(types, []);
    return problems;
  };

  test('may be of any kind, and export its tasks in any way', DEADLINE, async (t) => {
    const head = "import { defineTask } from 'worker-mesh';\n";
    const [a, b] = ['a', 'b'].map((name) => `defineTask({ name: '${name}', run: () => 1 })`);
    const both = { types: ['a', 'b'], problems: [] };
    for (const [text, name] of [
      [`${head}export default [${a}, ${b}];`],
      [`${head}enum X { A }\nexport default [${a}, ${b}];`],
      [`${head}export const x = ${a}, y = ${b}, z = x;`, 'tasks.mjs'],
      [
        `const { defineTask } = require('worker-mesh');\nmodule.exports = { x: ${a}, y: ${b} };`,
        'x.cjs',
      ],
    ] as const)
      assert.deepEqual(await judged(t, text, name), both, text);
  });

  test('with a mistake is named with its place', DEADLINE, async (t) => {
    const [wrong] = await problemsOf(t, 'const a = 1;\nconst b = ;');
    assert.match(wrong ?? '', /^The handlers of FILE cannot be loaded: .*FILE:2.*Mend the file/s);
    const [thrown] = await problemsOf(t, "\nthrow new Error('not today');");
    assert.match(thrown ?? '', /Error: not today \(FILE:2/);
  });

  test('that exports nothing, or what the node has already, is named', DEADLINE, async (t) => {
    const [empty] = await problemsOf(t, 'export const a = 1;');
    assert.match(empty ?? '', /exports no task: make one with defineTask/);
    const shell = "import { defineTask } from 'worker-mesh';\n";
    const [taken] = await problemsOf(
      t,
      `${shell}export default defineTask({ name: 'shell', run: () => 1 });`,
    );
    assert.match(taken ?? '', /the task type shell is there already/);
    const [name] = await problemsOf(
      t,
      `${shell}export default defineTask({ name: 'A b', run: () => 1 });`,
    );
    assert.match(name ?? '', /The task name "A b" must be/);
  });
});

describe('parameters', () => {
  test('are checked by the schema of the module', DEADLINE, async (t) => {
    const { executor } = await start(t);
    const texts = ['{"a":1}', '{"a":"x"}', '[]'];
    const checked = executor.checkParams?.('add', texts);
    assert.ok(checked?.tag === 'checking');
    const problems = await checked.problems;
    assert.equal(problems[0], undefined);
    assert.match(problems[1] ?? '', /^params of the task type add: a: /);
    assert.match(problems[2] ?? '', /^params of the task type add: /);
    assert.equal(executor.checkParams?.('nothing', ['{"any":1}']).tag, 'free', 'it has no schema');
    assert.equal(executor.checkParams?.('elsewhere', ['{}']).tag, 'unknown');
    assert.equal(executor.checkParams?.('shell', ['{}']).tag, 'free');
  });
});
