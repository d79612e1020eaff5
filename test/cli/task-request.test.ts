import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseJobRequest } from '../../src/api/job-request.ts';
import { commandText } from '../../src/cli/command-line.ts';
import { type TaskOptions, toTask } from '../../src/cli/task-request.ts';

/** What the words ask for is taken by the API. */
function taken(words: string[], options: TaskOptions) {
  const task = toTask(words, options);
  parseJobRequest(task);
  return task;
}

describe('the words of mesh run', () => {
  test('are a command where no type is named', () => {
    assert.deepEqual(taken(['a | b'], {}), { command: 'a | b' });
    assert.deepEqual(taken(['echo', 'a b'], { type: 'shell' }), { argv: ['echo', 'a b'] });
  });

  test('are source or a file for python, and arguments', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-words-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'here.py');
    writeFileSync(file, 'print("file")\n');
    const python = (...words: string[]) => taken(words, { type: 'python' });
    const task_type = 'python';
    assert.deepEqual(python('print(1)'), { task_type, params: { code: 'print(1)' } });
    assert.deepEqual(python(file, 'x'), {
      task_type,
      params: { code: 'print("file")\n', args: ['x'] },
    });
    assert.deepEqual(python('/there.py'), { task_type, params: { script: '/there.py' } });
  });

  test('are a URL for http, or a method and a URL', () => {
    const url = 'http://example.org/';
    const options = { type: 'http', params: '{"expected_status": 404}' };
    assert.deepEqual(taken(['POST', url], options).params, {
      expected_status: 404,
      method: 'POST',
      url,
    });
    assert.deepEqual(taken([url], { type: 'http' }).params, { url });
    assert.throws(() => toTask(['GET', url, 'x'], { type: 'http' }), /a method and a URL/);
  });

  test('are the command of a container', () => {
    const docker = (...words: string[]) => taken(words, { docker: 'alpine' }).params;
    assert.deepEqual(docker(), { image: 'alpine' });
    assert.deepEqual(docker('ls | wc -l'), { image: 'alpine', command: 'ls | wc -l' });
    assert.deepEqual(docker('ls', '-l'), { image: 'alpine', command: ['ls', '-l'] });
    assert.throws(() => toTask([], { docker: 'alpine', type: 'http' }), /give one of them/);
  });

  test('are a command for types of others, with any parameters', () => {
    const options = { type: 'mine', params: '{"a": 1}' };
    assert.deepEqual(taken(['x'], options), {
      task_type: 'mine',
      command: 'x',
      params: { a: 1 },
    });
    assert.deepEqual(taken([], { type: 'mine' }), { task_type: 'mine' });
    for (const params of ['[]', '1', '{', 'null'])
      assert.throws(() => toTask([], { type: 'mine', params }), /--params must be a JSON object/);
  });
});

describe('a job in a list', () => {
  test('is shown by what it does, whatever its parameters are', () => {
    const text = (task_type: string, params: unknown) =>
      commandText({ command: '', run: {}, task_type, params });
    assert.equal(text('http', { url: 'http://a/' }), 'GET http://a/');
    assert.equal(text('python', { code: 'print(1)' }), 'print(1)');
    assert.equal(text('docker', { image: 'a:1', command: ['ls', 'a b'] }), "a:1 ls 'a b'");
    assert.equal(text('docker', { image: 'a:1' }), 'a:1');
    assert.equal(text('docker', { operation: 'stop', id: 'x' }), 'stop x');
    for (const params of [null, 1, 'x', []]) assert.equal(text('mine', params), '(task type mine)');
  });
});
