/** A sandbox by Debian's bubblewrap, which .ci/test-packages installs. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { prepareManners } from '../../src/executors/manners/manners.ts';
import { whyNoSandbox } from '../../src/executors/manners/sandbox.ts';
import { findProgram } from '../../src/executors/programs.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { type RunOptions, toRunText } from '../../src/run/run-options.ts';
import { firstLine, order, release, startBench, temporaryFolder, textOf } from './attempts.ts';
import { isAlive, processesAbout } from './processes.ts';

const bwrap = await findProgram('bwrap', process.env.PATH);
const against =
  bwrap === undefined ? 'bubblewrap is not installed here' : await whyNoSandbox(bwrap);
const SANDBOXED = { timeout: 60_000, skip: against ?? false };
const boxed = (sandbox: RunOptions['sandbox'] = true) => ({ run: toRunText({ sandbox }) });

describe('a job in a sandbox', SANDBOXED, () => {
  test('has its own folder and nothing else to write to', async (t) => {
    const { run } = await startBench(t);
    const outside = temporaryFolder(t);
    const command = `pwd; echo in >file; cat file; touch /usr/x ${outside}/x /etc/x; ls -A /tmp /run | grep -v mesh; exit 4`;
    const { stdout, stderr, end, order: ordered } = await run(command, boxed());
    assert.deepEqual(end, { tag: 'exited', code: 4 });
    assert.match(textOf(stdout), new RegExp(`^/.*${ordered.job}.*\nin\n/run:\n\n/tmp:\n$`));
    assert.equal(textOf(stderr).match(/cannot touch/g)?.length, 3, textOf(stderr));
  });

  test('cannot make the rest writable again', async (t) => {
    const { run } = await startBench(t);
    const { stdout } = await run('mount -o remount,rw,bind / / || echo refused', boxed());
    assert.equal(textOf(stdout), 'refused\n');
  });

  test('sees neither the folders of its node nor other processes', async (t) => {
    const secrets = temporaryFolder(t);
    writeFileSync(join(secrets, 'key'), 'secret');
    const { run, folder } = await startBench(t, { hiddenFolders: [secrets] });
    const { stdout } = await run(
      `cat ${secrets}/key; ls ${folder}/running; ls -d /proc/[0-9]* | wc -l; ls ${folder}`,
      boxed(),
    );
    const [processes, ...shown] = textOf(stdout).trim().split('\n');
    assert(Number(processes) <= 5, `${processes}`);
    assert.deepEqual(shown, ['progress', 'work']);
    const refused = await run('true', boxed({ writable: [secrets] }));
    assert(refused.end.tag === 'failed');
    assert.match(refused.end.reason, /is the node's own/);
  });

  test('has no network unless it asks for it', async (t) => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    release(t, () => server.close());
    const { port } = server.address() as AddressInfo;
    const ask = `bash -c 'exec 3<>/dev/tcp/127.0.0.1/${port} && echo reached' 2>/dev/null || echo none`;
    const { run } = await startBench(t);
    assert.equal(textOf((await run(ask, boxed())).stdout), 'none\n');
    assert.equal(textOf((await run(ask, boxed({ network: true }))).stdout), 'reached\n');
  });

  test('may write to the paths it names, which must be there', async (t) => {
    const { run } = await startBench(t);
    const shared = join(temporaryFolder(t), 'shared');
    mkdirSync(shared);
    const { end } = await run(`echo made >${shared}/file`, boxed({ writable: [shared] }));
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(readFileSync(join(shared, 'file'), 'utf8'), 'made\n');
    const missing = await run('true', boxed({ writable: [join(shared, 'gone')] }));
    assert(missing.end.tag === 'failed');
    assert.match(missing.end.reason, /gone.* does not exist/);
  });

  test('in a folder of the machine may read it', async (t) => {
    const { run } = await startBench(t);
    const workingDir = temporaryFolder(t);
    writeFileSync(join(workingDir, 'data'), 'given\n');
    const { stdout } = await run('cat data; touch made || echo refused', {
      ...boxed(),
      workingDir,
    });
    assert.equal(textOf(stdout), 'given\nrefused\n');
    const open = await run('touch made && echo made', {
      ...boxed({ writable: [workingDir] }),
      workingDir,
    });
    assert.equal(textOf(open.stdout), 'made\n');
  });

  test('in a folder above those of its node, or in one of them, does not see them', async (t) => {
    const above = temporaryFolder(t);
    const secrets = join(above, 'secrets');
    mkdirSync(secrets);
    writeFileSync(join(secrets, 'key'), 'secret');
    const way = join(temporaryFolder(t), 'way');
    symlinkSync(above, way);
    const { run } = await startBench(t, { hiddenFolders: [secrets] });
    for (const workingDir of [above, way]) {
      const { stdout, end } = await run('ls; ls secrets', { ...boxed(), workingDir });
      assert.deepEqual([textOf(stdout), end], ['secrets\n', { tag: 'exited', code: 0 }]);
    }
    for (const workingDir of [secrets, join(way, 'secrets')]) {
      const { end } = await run('cat key', { ...boxed(), workingDir });
      assert(end.tag === 'failed', workingDir);
      assert.match(end.reason, /its working folder .* is the node's own/);
    }
  });

  test('opens no more than the policy of its node lets it, whatever a link says', async (t) => {
    const shared = temporaryFolder(t);
    const outside = temporaryFolder(t);
    for (const name of ['one', 'two']) mkdirSync(join(shared, name));
    symlinkSync(join(shared, 'two'), join(shared, 'within'));
    symlinkSync(outside, join(shared, 'out'));
    const rules = `rules: [{ name: fenced, sandbox: { writable: "${shared}/*" } }]`;
    const { run } = await startBench(t, { policy: parsePolicy('policy.yaml', rules) });
    for (const [name, real] of [
      ['one', 'one'],
      ['within', 'two'],
    ] as const) {
      const writable = [join(shared, name)];
      const { end } = await run(`echo >${join(shared, real, 'made')}`, boxed({ writable }));
      assert.deepEqual(end, { tag: 'exited', code: 0 });
    }
    const refusedAs = async (run_: ReturnType<typeof boxed>): Promise<string> => {
      const { end, startedAt } = await run('true', run_);
      assert(end.tag === 'failed');
      assert.equal(startedAt, undefined);
      return end.reason;
    };
    assert.match(await refusedAs(boxed(false)), /rule "fenced" .* in a sandbox only/);
    assert.match(await refusedAs(boxed({ writable: ['/'] })), /rule "fenced" .* write to \//);
    const linked = await refusedAs(boxed({ writable: [join(shared, 'out')] }));
    assert.match(linked, new RegExp(`rule "fenced" .* write to ${outside}`));
  });

  test('has its grace, and leaves nobody behind', async (t) => {
    const { executor, reports, folder } = await startBench(t);
    const command = `trap 'echo bye; exit' TERM; setsid sleep 1000 & : ${folder}; echo up; while :; do sleep 0.05; done`;
    const ordered = order(command, boxed());
    executor.run(ordered);
    await firstLine(executor, ordered);
    executor.end(ordered.job, ordered.fence, 3000);
    const { stdout } = await reports.ended(ordered);
    assert.match(textOf(stdout), /bye/);
    assert.deepEqual(processesAbout(`: ${folder}`).filter(isAlive), []);
  });

  test('keeps its limits', async (t) => {
    const { run } = await startBench(t);
    const limits = { open_files: 40 };
    const { stdout } = await run('ulimit -n', { run: toRunText({ sandbox: true, limits }) });
    assert.equal(textOf(stdout), '40\n');
  });
});

describe('a node without bubblewrap', () => {
  test('fails a job that asks for a sandbox, and names the package', async (t) => {
    const folder = temporaryFolder(t);
    const progressFile = { path: '', make: () => Promise.resolve() };
    const run = { sandbox: true };
    const about = { run, folder, isOwnFolder: true, stdinPath: '', progressFile };
    const find = () => Promise.resolve(undefined);
    const cgroups = () => Promise.resolve(undefined);
    const means = { find, cgroups, hidden: [], refusalOf: () => undefined };
    const prepared = await prepareManners(about, means);
    assert(prepared.tag === 'failed');
    assert.match(prepared.reason, /bwrap.*install bubblewrap/);
  });
});
