import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { parsePolicy, type Subject } from '../../src/policy/policy.ts';

const job = (change: Partial<Subject> = {}): Subject => ({
  taskType: 'shell',
  command: 'true',
  params: '{}',
  run: '{}',
  ...change,
});
const container = (...mounts: unknown[]): Subject =>
  job({ taskType: 'docker', command: '', params: JSON.stringify({ image: 'busybox', mounts }) });
const policyOf = (text: string) => parsePolicy('policy.yaml', text);
const refused = (text: string): string => {
  try {
    policyOf(text);
  } catch (failure) {
    assert.ok(failure instanceof MeshError && failure.code === 'BAD_SETTING');
    return failure.message;
  }
  return assert.fail('it was taken');
};

describe('a policy', () => {
  test('that is empty lets everything through', () => {
    for (const text of ['', '# nothing', 'rules: []'])
      assert.equal(policyOf(text).refusalOf(job()), undefined);
  });

  test('names the first rule that fits', () => {
    const policy = policyOf(`
      rules:
        - { name: backups, allow: { command: "/opt/backup *" } }
        - { name: no opt, deny: { command: "/opt/*" } }
        - { name: never, deny: { command: "/opt/backup now" } }
    `);
    assert.equal(policy.refusalOf(job({ command: '/opt/backup now' })), undefined);
    assert.match(policy.refusalOf(job({ command: '/opt/other' })) ?? '', /rule "no opt"/);
    assert.equal(policy.refusalOf(job({ command: 'echo /opt/other' })), undefined);
  });

  test('may deny what no rule allows', () => {
    const policy = policyOf('{ default: deny, rules: [{ name: a, allow: { type: shell } }] }');
    assert.equal(policy.refusalOf(job()), undefined);
    assert.match(policy.refusalOf(container()) ?? '', /no rule/);
  });

  test('takes every sign but * as it is, over several lines', () => {
    const policy = policyOf('rules: [{ name: a, deny: { command: "a.b+(c)*end" } }]');
    assert.ok(policy.refusalOf(job({ command: 'a.b+(c) \n x end' })));
    assert.equal(policy.refusalOf(job({ command: 'aXb+(c) end' })), undefined);
    assert.equal(policy.refusalOf(job({ command: 'a.b+(c) end ' })), undefined);
  });

  test('looks at argv as at a command, and at the user that is named', () => {
    const policy = policyOf(`
      rules:
        - { name: no rm, deny: { command: "rm *" } }
        - { name: no root, deny: { user: [root, "0"] } }
    `);
    assert.match(policy.refusalOf(job({ run: '{"argv":["rm","-r","/"]}' })) ?? '', /no rm/);
    assert.match(policy.refusalOf(job({ run: '{"user":"0"}' })) ?? '', /no root/);
    assert.equal(policy.refusalOf(job({ run: '{"user":"nobody"}' })), undefined);
  });

  test('allows a job by its mounts only if every one of them fits, and denies it for one', () => {
    const allowing = policyOf(
      '{ default: deny, rules: [{ name: a, allow: { mounts: "/srv/data/*" } }] }',
    );
    assert.equal(
      allowing.refusalOf(container('/srv/data/x:/x', { source: '/srv/data/y' })),
      undefined,
    );
    assert.ok(allowing.refusalOf(container('/srv/data/x:/x', '/etc:/etc')));
    assert.ok(allowing.refusalOf(container('/srv/data/../../etc:/etc')));
    assert.ok(allowing.refusalOf(container()));
    const denying = policyOf('rules: [{ name: a, deny: { mounts: "/etc*" } }]');
    assert.ok(denying.refusalOf(container('/srv:/srv', '/srv/../etc:/e:ro')));
    assert.equal(denying.refusalOf(container('/srv:/srv')), undefined);
    assert.ok(denying.refusalOf(job({ run: '{"sandbox":{"writable":["/etc/cron.d"]}}' })));
  });

  test('refuses what it does not understand', () => {
    const policy = policyOf('rules: [{ name: a, deny: { user: root } }]');
    assert.match(policy.refusalOf(job({ run: '{"user":7}' })) ?? '', /not understood/);
    assert.match(policy.refusalOf(job({ params: '{' })) ?? '', /not understood/);
  });

  test('with a mistake stops the start with its place', () => {
    assert.match(refused('rules: ['), /not YAML/);
    assert.match(refused('{ rules: [{ name: a }] }'), /rules\.0 must have one of allow and deny/);
    assert.match(refused('{ rules: [{ name: a, deny: { comand: x } }] }'), /rules\.0\.deny/);
    assert.match(refused('default: maybe'), /default must be allow or deny/);
  });
});
