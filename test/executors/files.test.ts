/** Files that an attempt is given, and files that are kept of it. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import type { Files } from '../../src/executors/files/files.ts';
import { whyNoSandbox } from '../../src/executors/manners/sandbox.ts';
import { findProgram } from '../../src/executors/programs.ts';
import { newBlobs, put, sha256Of } from '../blobs/blob-folders.ts';
import { firstLine, order, startBench, temporaryFolder, textOf, until } from './attempts.ts';

const bwrap = await findProgram('bwrap', process.env.PATH);
const NO_SANDBOX =
  (bwrap === undefined ? 'bubblewrap is not installed here' : await whyNoSandbox(bwrap)) ?? false;

type Blobs = Awaited<ReturnType<typeof newBlobs>>;

const filesOf = (blobs: Blobs): Files => ({
  place: ({ sha256, path, mode }) => blobs.place(sha256, path, mode),
  keep: (file) => blobs.keep(file),
});

async function startFileBench(t: TestContext, folder = temporaryFolder(t)) {
  const blobs = await newBlobs(t);
  const bench = await startBench(t, { folder, files: filesOf(blobs) });
  return { ...bench, blobs };
}

const unused = (): never => assert.fail('it was not to be asked for');

const runText = (run: unknown): { run: string } => ({ run: JSON.stringify(run) });
const kept = (path: string, text: string) => ({
  path,
  bytes: text.length,
  sha256: sha256Of(Buffer.from(text)),
});

describe('inputs', () => {
  test('are in the working folder when the attempt starts, with their modes', async (t) => {
    const { run, blobs } = await startFileBench(t);
    const sha256 = await put(blobs, Buffer.from('from the mesh\n'));
    const inputs = [
      { path: 'a.txt', text: 'ä text\n' },
      { path: 'bin/tool.sh', base64: Buffer.from('echo tool\n').toString('base64'), mode: '755' },
      { path: 'deep/er/data', sha256, bytes: 14, mode: '400' },
    ];
    const command = 'cat a.txt; bin/tool.sh; cat deep/er/data; ls -l deep/er/data | cut -c1-10';
    const { end, stdout } = await run(command, runText({ inputs }));
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(textOf(stdout), 'ä text\ntool\nfrom the mesh\n-r--------\n');
  });

  test('that no node has fail the job, that cannot be had now give it back', async (t) => {
    const { run, executor, reports } = await startFileBench(t);
    const inputs = [{ path: 'data', sha256: 'ab'.repeat(32), bytes: 9 }];
    const missing = await run('echo ran', runText({ inputs }));
    assert(missing.end.tag === 'failed');
    assert.match(missing.end.reason, /input file data could not be put .* not kept here/);
    await executor.stop();

    const place = async (): Promise<never> => {
      throw new MeshError('NOT_KNOWABLE', 'One node did not answer.');
    };
    const away = await startBench(t, { files: { place, keep: unused } });
    const { end, startedAt } = await away.run('echo ran', runText({ inputs }));
    assert.deepEqual(end, {
      tag: 'returned',
      reason:
        'The input file data could not be put into the working folder: One node did not answer.',
    });
    assert.equal(startedAt, undefined);
    assert.equal(reports.all.filter(({ kind }) => kind === 'keeping').length, 0);
  });

  test('are not waited for by an attempt that is ended', async (t) => {
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const files: Files = {
      place: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
          resolve();
        }),
      keep: unused,
    };
    const { executor, reports } = await startBench(t, { files });
    const inputs = [{ path: 'data', sha256: 'ab'.repeat(32), bytes: 9 }];
    const waiting = order('echo ran', runText({ inputs }));
    executor.run(waiting);
    await asked;
    executor.end(waiting.job, waiting.fence, 1000);
    assert.equal((await reports.ended(waiting)).end.tag, 'failed');
  });

  test('are not written through links in a folder that the job names', async (t) => {
    const { run } = await startFileBench(t);
    const workingDir = temporaryFolder(t);
    const outside = temporaryFolder(t);
    writeFileSync(join(outside, 'victim'), 'mine');
    symlinkSync(join(outside, 'victim'), join(workingDir, 'link'));
    symlinkSync(outside, join(workingDir, 'folder'));
    const inputs = [{ path: 'link', text: 'new' }];
    const replaced = await run('cat link', { workingDir, ...runText({ inputs }) });
    assert.equal(textOf(replaced.stdout), 'new');
    assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'mine');
    const through = await run('echo ran', {
      workingDir,
      ...runText({ inputs: [{ path: 'folder/new', text: 'x' }] }),
    });
    assert(through.end.tag === 'failed');
    assert.match(through.end.reason, /folder is there and no folder/);
    assert.deepEqual(readdirSync(outside), ['victim']);
  });

  test('with a path that leads out of the folder are not believed', async (t) => {
    const { run } = await startFileBench(t);
    for (const path of ['../out', '/etc/out', 'a/../../out', '.', 'a//b']) {
      const { end } = await run('echo ran', runText({ inputs: [{ path, text: 'x' }] }));
      assert.equal(end.tag, 'failed', path);
    }
  });
});

describe('outputs', () => {
  test('are kept when the attempt has ended, also when it failed', async (t) => {
    const { run, blobs, folder } = await startFileBench(t);
    const command =
      'mkdir -p out/sub; printf one >out/1.txt; printf two >out/sub/2.txt; printf x >other; exit 3';
    const { end, receipt } = await run(
      command,
      runText({ outputs: ['out', '*.log', 'out/*.txt'] }),
    );
    assert.deepEqual(end, { tag: 'exited', code: 3 });
    assert.deepEqual(receipt?.files, [kept('out/1.txt', 'one'), kept('out/sub/2.txt', 'two')]);
    assert.match(receipt?.filesNote ?? '', /nothing is called \*\.log/);
    assert.equal(await blobs.find(sha256Of(Buffer.from('two'))), 3);
    await until('all is removed', () => readdirSync(join(folder, 'work')).length === 0);
  });

  test('never lie behind a link', async (t) => {
    const { run } = await startFileBench(t);
    const outside = temporaryFolder(t);
    mkdirSync(join(outside, 'dir'));
    writeFileSync(join(outside, 'dir', 'secret'), 'secret');
    const command = `ln -s ${outside}/dir/secret link; ln -s ${outside}/dir folder; mkdir real; ln -s ${outside} real/up; ln -s /etc/passwd real/passwd; mkfifo real/pipe; printf ok >real/file`;
    const outputs = ['link', 'folder', 'folder/*', 'real', 'real/up/dir/*', '**/secret'];
    const { receipt } = await run(command, runText({ outputs }));
    assert.deepEqual(receipt?.files, [kept('real/file', 'ok')]);
  });

  test('over the limit are named', async (t) => {
    const { run } = await startFileBench(t);
    const command = 'i=0; while [ $i -lt 300 ]; do printf $i >f$i; i=$((i+1)); done';
    const { receipt } = await run(command, runText({ outputs: ['f*'] }));
    assert.equal(receipt?.files?.length, 256);
    assert.match(receipt?.filesNote ?? '', /44 are over the limit of 256: .*, and 39 more/);
  });

  test('for which there is no room are named with the reason', async (t) => {
    const keep = async (): Promise<never> => {
      throw new MeshError('STORAGE_FULL', 'It does not fit.');
    };
    const { run } = await startBench(t, { files: { place: unused, keep } });
    const { end, receipt } = await run('echo x >result', runText({ outputs: ['result'] }));
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.equal(receipt?.files, undefined);
    assert.equal(receipt?.filesNote, 'Not all files were kept: result (It does not fit).');
  });

  test('of an attempt that was ended in time are kept', async (t) => {
    const { executor, reports } = await startFileBench(t);
    const ordered = order('printf half >part; echo; sleep 600', runText({ outputs: ['part'] }));
    executor.run(ordered);
    const range = { offset: 0, maxBytes: 1, waitMs: 20_000 };
    await executor.outputs.read(ordered, 'stdout', range);
    executor.end(ordered.job, ordered.fence, 1000);
    const { receipt } = await reports.ended(ordered);
    assert.deepEqual(receipt?.files, [kept('part', 'half')]);
  });
});

/** What the node may read and this user may not: its files must be the job's own all the way. */
describe('files of a job that is not its node', { timeout: 60_000 }, () => {
  const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'only root may run jobs as another user';
  const command =
    'cat a.txt deep/er/data; deep/tool; echo more >>deep/er/data; rm a.txt; mkdir out; cp deep/er/data out/copy; chmod 600 out/copy; exit 3';
  const outputs = ['out', 'deep/er/data'];

  async function check(t: TestContext, options: object): Promise<void> {
    const { run, blobs, folder } = await startFileBench(t);
    const sha256 = await put(blobs, Buffer.from('from the mesh\n'));
    const inputs = [
      { path: 'a.txt', text: 'text\n' },
      { path: 'deep/tool', text: '#!/bin/sh\necho tool\n', mode: '700' },
      { path: 'deep/er/data', sha256, bytes: 14, mode: '600' },
    ];
    const { end, stdout, stderr, receipt } = await run(
      command,
      runText({ ...options, inputs, outputs }),
    );
    assert.equal(textOf(stderr), '');
    assert.equal(textOf(stdout), 'text\nfrom the mesh\ntool\n');
    assert.deepEqual(end, { tag: 'exited', code: 3 });
    const text = 'from the mesh\nmore\n';
    assert.deepEqual(receipt?.files, [kept('deep/er/data', text), kept('out/copy', text)]);
    // What the job wrote to was a copy.
    assert.equal(await blobs.find(sha256), 14);
    await until('all is removed', () => readdirSync(join(folder, 'work')).length === 0);
  }

  test('are those of the user it names', { skip: NEEDS_ROOT }, (t) => check(t, { user: 'nobody' }));

  test('are in its sandbox', { skip: NO_SANDBOX }, (t) => check(t, { sandbox: true }));

  test('are those of its user in its sandbox', { skip: NEEDS_ROOT || NO_SANDBOX }, (t) =>
    check(t, { user: 'nobody', sandbox: true }),
  );

  test('are kept by the next life of its node', { skip: NEEDS_ROOT }, async (t) => {
    const first = await startFileBench(t);
    const command = 'printf it >result; echo; while [ ! -e go ]; do sleep 0.02; done; pwd';
    const ordered = order(command, runText({ user: 'nobody', outputs: ['res*'] }));
    first.executor.run(ordered);
    await firstLine(first.executor, ordered);
    await first.executor.stop('leave');
    const second = await startFileBench(t, first.folder);
    assert.equal(second.survivors.length, 1);
    const [name = ''] = readdirSync(join(first.folder, 'work'));
    const { folder } = JSON.parse(readFileSync(join(first.folder, 'work', name), 'utf8'));
    writeFileSync(join(folder, 'go'), '');
    const { end, receipt } = await second.reports.ended(ordered);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.deepEqual(receipt?.files, [kept('result', 'it')]);
    await until('its folder is removed', () => !existsSync(folder));
  });

  test('are never put into another folder, nor taken from one', async (t) => {
    const { run } = await startFileBench(t);
    const workingDir = temporaryFolder(t);
    const inputs = [{ path: 'new', text: 'x' }];
    for (const options of [
      { user: 'nobody', inputs },
      { sandbox: true, inputs },
      { user: 'nobody', outputs: ['**'] },
    ]) {
      const { end, startedAt } = await run('echo ran', { workingDir, ...runText(options) });
      assert(end.tag === 'failed');
      assert.match(end.reason, /leave working_dir out/);
      assert.equal(startedAt, undefined);
    }
    assert.deepEqual(readdirSync(workingDir), []);
  });
});

describe('a node that is started again', { timeout: 60_000 }, () => {
  test('keeps the files of an attempt that an earlier life started', async (t) => {
    const first = await startFileBench(t);
    const command = 'printf it >result; echo; while [ ! -e go ]; do sleep 0.02; done';
    const ordered = order(command, runText({ outputs: ['res*'] }));
    first.executor.run(ordered);
    await first.executor.outputs.read(ordered, 'stdout', {
      offset: 0,
      maxBytes: 1,
      waitMs: 20_000,
    });
    await first.executor.stop('leave');
    const second = await startFileBench(t, first.folder);
    assert.equal(second.survivors.length, 1);
    const [name = ''] = readdirSync(join(first.folder, 'work'));
    writeFileSync(join(first.folder, 'work', name, 'go'), '');
    const { end, receipt } = await second.reports.ended(ordered);
    assert.deepEqual(end, { tag: 'exited', code: 0 });
    assert.deepEqual(receipt?.files, [kept('result', 'it')]);
    await until('all is removed', () => readdirSync(join(first.folder, 'work')).length === 0);
  });

  test('goes on with files that were being kept', async (t) => {
    const { promise: begun, resolve } = Promise.withResolvers<void>();
    const never = new Promise<never>(() => {});
    const keep = (): Promise<never> => {
      resolve();
      return never;
    };
    const folder = temporaryFolder(t);
    const first = await startBench(t, { folder, files: { place: unused, keep } });
    const ordered = order('printf it >result; exit 5', runText({ outputs: ['result'] }));
    first.executor.run(ordered);
    await begun;
    await first.executor.stop('leave');
    assert.deepEqual(
      first.reports.of(ordered).map(({ kind }) => kind),
      ['running', 'keeping'],
    );
    const second = await startFileBench(t, folder);
    const { end, receipt } = await second.reports.ended(ordered);
    assert.deepEqual(end, { tag: 'exited', code: 5 });
    assert.deepEqual(receipt?.files, [kept('result', 'it')]);
  });
});
