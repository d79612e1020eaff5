import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseJobRequest } from '../../src/api/job-request.ts';
import { parseJsonBody } from '../../src/api/json-body.ts';
import { MeshError } from '../../src/base/errors.ts';
import { parseRunText } from '../../src/run/run-options.ts';

const refusal = (act: () => unknown): MeshError => {
  try {
    act();
  } catch (failure) {
    assert.ok(failure instanceof MeshError, String(failure));
    return failure;
  }
  return assert.fail('it was taken');
};

const refused = (value: unknown): string => {
  const { code, message } = refusal(() => parseJobRequest(value));
  assert.equal(code, 'BAD_REQUEST');
  return message;
};

describe('a job request', () => {
  test('names what delivery, on_isolation and replicas may be', () => {
    const wrong = refused({ command: 'x', delivery: 'once', on_isolation: true, replicas: 4 });
    assert.match(wrong, /delivery must be at_least_once or at_most_once/);
    assert.match(wrong, /on_isolation must be stop or continue/);
    assert.match(wrong, /replicas must be one of 1, 2, 3/);
    assert.match(refused({ command: 'x', replicas: '2' }), /replicas must be one of 1, 2, 3/);
  });

  test('needs nothing but a command', () => {
    const job = parseJobRequest({ command: 'echo hello' });
    assert.deepEqual(job, {
      taskType: 'shell',
      command: 'echo hello',
      params: '{}',
      env: {},
      workingDir: undefined,
      run: '{}',
      timeoutMs: undefined,
      queueTimeoutMs: undefined,
      totalTimeoutMs: undefined,
      priority: 5,
      target: undefined,
      labels: {},
      capabilities: {},
      delivery: 'at_least_once',
      onIsolation: 'stop',
      replicas: undefined,
      key: undefined,
    });
  });

  test('of a task type of this program has its parameters checked, field by field', () => {
    const ofHttp = (params: unknown) => refused({ task_type: 'http', params });
    assert.match(ofHttp(undefined), /params\.url must be an http:\/\/ or https:\/\/ URL/);
    assert.match(ofHttp({ url: 'http://a:b@c/' }), /params\.url must be without user and password/);
    assert.match(
      ofHttp({ url: 'http://c/', expected_status: 99 }),
      /params\.expected_status must be/,
    );
    assert.match(ofHttp({ url: 'http://c/', uri: 1 }), /unknown field "uri" in params/);
    const host = { url: 'http://c/', headers: { 'Content-Length': '1' } };
    assert.match(ofHttp(host), /params\.headers has a name that the connection itself says/);
    const both = { task_type: 'python', params: { code: '1', script: 'a.py' } };
    assert.match(refused(both), /params must have either code .* or script/);
    assert.match(refused({ task_type: 'http', command: 'x' }), /unknown field "command" in params/);
    assert.equal(parseJobRequest({ task_type: 'python', command: 'print(1)' }).params, '{}');
    assert.equal(parseJobRequest({ task_type: 'mine', params: { any: 1 } }).params, '{"any":1}');
  });

  test('has only fields that mean something for its task type', () => {
    const ofHttp = { task_type: 'http', params: { url: 'http://a/' } };
    for (const more of [{ argv: ['x'] }, { stdin: 'x' }, { working_dir: '/x' }])
      assert.match(
        refused({ ...ofHttp, ...more }),
        new RegExp(`: ${Object.keys(more)[0]} is not for jobs of the task type http\\.$`),
      );
    const ofDocker = { task_type: 'docker', params: { image: 'a' } };
    assert.match(refused({ ...ofDocker, working_dir: '/etc' }), /working_dir is not for jobs/);
    assert.equal(parseJobRequest({ ...ofDocker, outputs: ['a'] }).run, '{"outputs":["a"]}');
    const ofPython = { task_type: 'python', params: { code: '1' } };
    assert.match(refused({ ...ofPython, argv: ['x'] }), /argv is not for jobs/);
    parseJobRequest({ ...ofPython, stdin: 'x', working_dir: '/srv' });
    parseJobRequest({ task_type: 'mine', argv: ['x'] });
  });

  test('has every documented field', () => {
    const job = parseJobRequest({
      command: 'x',
      target_node_id: 'atlas',
      env: { A: '1' },
      timeout_seconds: 1.5,
      task_type: ' Shell ',
      params: { deep: [1, null] },
      priority: 10,
      working_dir: '/srv',
      required: { gpu: true, cores: 4 },
      labels: { room: 'attic' },
      delivery: 'at_most_once',
      on_isolation: 'continue',
      replicas: 2,
      job_id: 'my-job',
    });
    assert.deepEqual(
      [job.delivery, job.onIsolation, job.replicas],
      ['at_most_once', 'continue', 2],
    );
    assert.equal(job.taskType, 'shell');
    assert.equal(job.timeoutMs, 1500);
    assert.equal(job.params, '{"deep":[1,null]}');
    assert.deepEqual(job.capabilities, { gpu: 'true', cores: '4' });
    assert.deepEqual(job.key, { kind: 'id', text: 'my-job' });
    assert.equal(job.target, 'atlas');
  });

  test('says how it is run in fields of their own, which travel as one text', () => {
    const files = [
      { path: 'in/data.csv', text: 'a,b' },
      { path: 'big.bin', sha256: '0a'.repeat(32), bytes: 5_000_000_000, mode: '755' },
    ];
    const said = {
      argv: ['sort', '-u'],
      stdin: 'b\na\n',
      umask: '077',
      user: 'nobody',
      nice: 5,
      limits: { cpu_seconds: 10, memory_bytes: 2 ** 28, open_files: 64 },
      sandbox: { network: true },
      inputs: files,
      outputs: ['result/*'],
    };
    const job = parseJobRequest({ ...said, queue_timeout_seconds: 60, total_timeout_seconds: 0.5 });
    assert.deepEqual(JSON.parse(job.run), said);
    assert.deepEqual([job.queueTimeoutMs, job.totalTimeoutMs], [60_000, 500]);
    assert.deepEqual(parseRunText(job.run), said);
  });

  test('has a way to be run that makes sense', () => {
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{ argv: [] }, /argv must not be empty/],
      [{ argv: ['a\0b'] }, /zero byte/],
      [{ nice: 20 }, /from -20 to 19/],
      [{ limits: { memory: 1 } }, /unknown field "memory" in limits/],
      [{ limits: { cpu_seconds: 0 } }, /at least 1/],
      [{ inputs: [{ path: '../up', text: '' }] }, /below the working folder/],
      [{ inputs: [{ path: '/etc/passwd', text: '' }] }, /below the working folder/],
      [{ inputs: [{ path: 'a' }] }, /one of text, base64 and sha256/],
      [{ inputs: [{ path: 'a', text: '', sha256: '0a'.repeat(32) }] }, /one of text/],
      [{ inputs: [{ path: 'a', sha256: '0a'.repeat(32) }] }, /must have bytes/],
      [{ outputs: ['a/../../b'] }, /below the working folder/],
      [{ umask: '999' }, /octal/],
      [{ user: '-root' }, /user name/],
      [{ queue_timeout_seconds: 0 }, /more than 0/],
    ];
    for (const [fields, sentence] of wrong)
      assert.match(refused({ command: 'x', ...fields }), sentence);
    assert.match(refused({ command: 'x', argv: ['y'] }), /not both/);
  });

  test('without a command is told so in the words clients know', () => {
    for (const value of [{}, { command: '' }, { command: ' \n' }])
      assert.equal(refused(value), 'Command is required');
  });

  test('of another task type needs no command', () => {
    assert.equal(parseJobRequest({ task_type: 'mine', params: {} }).command, '');
  });

  test('with an unknown field is refused by its name', () => {
    assert.match(refused({ command: 'x', timeout_second: 1 }), /unknown field "timeout_second"/);
  });

  test('with a value of the wrong type is refused by the field’s name', () => {
    const wrong: [string, unknown][] = [
      ['command', 5],
      ['env', []],
      ['timeout_seconds', '30'],
      ['priority', 1.5],
      ['priority', 11],
      ['priority', '5'],
      ['working_dir', 'relative'],
      ['labels', 'a=b'],
      ['required', { gpu: {} }],
      ['target_node_id', 7],
      ['job_id', '../etc'],
      ['task_type', 'no spaces'],
      ['idempotency_key', ''],
    ];
    for (const [field, value] of wrong)
      assert.match(refused({ command: 'x', [field]: value }), new RegExp(`\\b${field}\\b`), field);
  });

  test('that is no object is refused', () => {
    for (const value of [null, 5, 'x', [], true]) assert.match(refused(value), /must be an object/);
  });

  test('takes zero and less as the default timeout, and no more than seven days', () => {
    for (const seconds of [0, -1])
      assert.equal(
        parseJobRequest({ command: 'x', timeout_seconds: seconds }).timeoutMs,
        undefined,
      );
    assert.equal(
      parseJobRequest({ command: 'x', timeout_seconds: 604_800 }).timeoutMs,
      604_800_000,
    );
    assert.match(refused({ command: 'x', timeout_seconds: 604_801 }), /7 days/);
  });

  test('may not set variables that are no identifiers or belong to the mesh', () => {
    for (const name of ['1A', 'A-B', '', 'A B', 'Ä', 'MESH_KEY'])
      assert.match(refused({ command: 'x', env: { [name]: 'v' } }), /env has a name/, name);
  });

  test('has a command of at most 128 KiB, measured in bytes', () => {
    const longest = 'é'.repeat(64 * 1024 - 1);
    assert.equal(parseJobRequest({ command: longest }).command, longest);
    assert.match(refused({ command: `${longest}éé` }), /longer than 128 KiB/);
  });

  test('has one key at most', () => {
    const both = { command: 'x', id: 'a', idempotency_key: 'k' };
    assert.match(refused(both), /not both/);
    assert.match(refused({ command: 'x', id: 'a', job_id: 'b' }), /differ/);
    assert.deepEqual(parseJobRequest({ command: 'x' }, 'k').key, {
      kind: 'idempotency',
      text: 'k',
    });
    const { message } = refusal(() => parseJobRequest({ command: 'x', idempotency_key: 'k' }, 'q'));
    assert.match(message, /differ/);
    assert.match(refusal(() => parseJobRequest({ command: 'x' }, 'a\u0001b')).message, /ASCII/);
  });
});

describe('a JSON body', () => {
  const parse = (text: string): unknown => parseJsonBody(Buffer.from(text));

  test('that is not JSON, not UTF-8 or empty is BAD_JSON', () => {
    for (const text of ['', '  ', '{', '{"a":1,}', 'hello'])
      assert.equal(refusal(() => parse(text)).code, 'BAD_JSON', text);
    assert.equal(refusal(() => parseJsonBody(Buffer.from([0x22, 0xff, 0x22]))).code, 'BAD_JSON');
  });

  test('with a NUL or half a surrogate pair anywhere is refused', () => {
    for (const text of [
      '{"a":"\\u0000"}',
      '{"\\u0000":1}',
      '[[["\\ud800"]]]',
      '{"a":{"b":"\\udc00x"}}',
    ])
      assert.equal(refusal(() => parse(text)).code, 'BAD_REQUEST', text);
  });

  test('of a hundred thousand brackets is refused without ending the stack', () => {
    const { code, message } = refusal(() => parse('['.repeat(100_000) + ']'.repeat(100_000)));
    assert.equal(code, 'BAD_REQUEST');
    assert.match(message, /nested/);
  });

  test('may not name a field __proto__', () => {
    assert.match(refusal(() => parse('{"env":{"__proto__":"x"}}')).message, /__proto__/);
  });

  test('keeps what is well-formed', () => {
    assert.deepEqual(parse('{"a":"é \\ud83d\\ude00"}'), { a: 'é 😀' });
  });
});
