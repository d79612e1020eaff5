import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import type { Subject } from '../../src/policy/facts.ts';
import { parsePolicy } from '../../src/policy/policy.ts';

const job = (change: Partial<Subject> = {}): Subject => ({
  taskType: 'shell',
  command: 'true',
  params: '{}',
  run: '{}',
  ...change,
});
const container = (...mounts: unknown[]): Subject =>
  job({ taskType: 'docker', command: '', params: JSON.stringify({ image: 'busybox', mounts }) });
const terminal = (command = '', run = '{}'): Subject => job({ taskType: 'terminal', command, run });
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
    for (const user of ['0', '00', '000'])
      assert.match(policy.refusalOf(job({ run: `{"user":"${user}"}` })) ?? '', /no root/);
    assert.equal(policy.refusalOf(job({ run: '{"user":"0x"}' })), undefined);
    assert.equal(policy.refusalOf(job({ run: '{"user":"nobody"}' })), undefined);
  });

  test('finds the command of a container and of Python where they have it', () => {
    const policy = policyOf('rules: [{ name: no rm, deny: { command: "*rm -r*" } }]');
    const commandOf = (taskType: string, params: object, command = ''): string | undefined =>
      policy.refusalOf(job({ taskType, command, params: JSON.stringify(params) }));
    for (const [taskType, params] of [
      ['docker', { image: 'a', command: 'cd /; rm -r x' }],
      ['docker', { image: 'a', command: ['rm', '-r', 'x'] }],
      ['python', { code: 'os.system("rm -r x")' }],
      ['python', { script: '/opt/rm', args: ['rm', '-r'] }],
    ] as const)
      assert.match(commandOf(taskType, params) ?? '', /no rm/, JSON.stringify(params));
    assert.match(commandOf('docker', { image: 'a' }, 'rm -r x') ?? '', /no rm/);
    assert.match(commandOf('python', {}, 'rm -r x') ?? '', /no rm/);
    assert.equal(commandOf('docker', { image: 'a', command: 'ls' }), undefined);
    // Of a handler nobody else knows what its parameters mean.
    assert.equal(commandOf('mine', { command: 'rm -r x' }), undefined);
  });

  test('holds paths at which input files are put for mounts', () => {
    const policy = policyOf('rules: [{ name: opt, deny: { mounts: "/opt/*" } }]');
    const run = JSON.stringify({ inputs: [{ path: 'jobs/x', text: '' }] });
    assert.ok(policy.refusalOf(job({ run, workingDir: '/opt' })));
    assert.equal(policy.refusalOf(job({ run, workingDir: '/srv' })), undefined);
    assert.equal(policy.refusalOf(job({ run })), undefined);
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
    assert.match(refused('{ rules: [{ name: a }] }'), /rules\.0 must have one of allow, deny and/);
    const two = '{ rules: [{ name: a, deny: {}, sandbox: {} }] }';
    assert.match(refused(two), /rules\.0 must have one of/);
    assert.match(refused('{ rules: [{ name: a, deny: { comand: x } }] }'), /rules\.0\.deny/);
    assert.match(refused('default: maybe'), /default must be allow or deny/);
  });
});

describe('a terminal under a policy', () => {
  const byName = '{ name: shells, allow: { type: terminal } }';

  test('is a job as any other where no rule is about commands', () => {
    assert.equal(policyOf('').refusalOf(terminal()), undefined);
    const closed = policyOf('{ default: deny, rules: [{ name: a, allow: { type: shell } }] }');
    assert.match(closed.refusalOf(terminal()) ?? '', /no rule/);
    const open = policyOf('{ default: deny, rules: [{ name: a, allow: { type: "*" } }] }');
    assert.equal(open.refusalOf(terminal()), undefined);
    const noTerminals = policyOf('rules: [{ name: mine, deny: { type: term* } }]');
    assert.match(noTerminals.refusalOf(terminal()) ?? '', /"mine"/);
    assert.equal(noTerminals.refusalOf(job()), undefined);
  });

  test('is a shell: who may have none may have no terminal', () => {
    const policy = policyOf('rules: [{ name: no shells, deny: { type: shell } }]');
    assert.match(policy.refusalOf(terminal()) ?? '', /"no shells"/);
    const named = policyOf(`rules: [${byName}, { name: no shells, deny: { type: shell } }]`);
    assert.equal(named.refusalOf(terminal()), undefined);
    const users = policyOf('rules: [{ name: named only, deny: { user: "" } }]');
    assert.match(users.refusalOf(terminal()) ?? '', /"named only"/);
  });

  test('is refused by any rule about commands, with what would let it through', () => {
    for (const rules of [
      '{ name: mine, deny: { command: "rm *" } }',
      '{ name: other, allow: { type: shell } }, { name: mine, allow: { command: "/opt/*" } }',
      '{ name: all, allow: { type: "*" } }, { name: mine, deny: { type: docker, command: x } }',
      '{ name: mine, sandbox: { for: { command: "/opt/*" } } }',
    ]) {
      const policy = policyOf(`rules: [${rules}]`);
      for (const command of ['', 'bash', 'opt/menu'])
        assert.match(
          policy.refusalOf(terminal(command)) ?? '',
          /^the rule "mine" of the policy .* allows the type terminal by name/,
          rules,
        );
      assert.equal(policy.refusalOf(job()), undefined);
    }
  });

  test('is let through by a rule that names it, its own command permitting', () => {
    const policy = policyOf(`
      rules:
        - { name: no root shells, deny: { command: ["su*", "sudo*"] } }
        - { name: any, allow: { type: "*", user: "" } }
        - { name: menu, allow: { type: [shell, terminal], command: "/opt/menu*" } }
    `);
    assert.equal(policy.refusalOf(terminal('/opt/menu -a')), undefined);
    assert.equal(policy.refusalOf(terminal('', '{"argv":["/opt/menu","-a"]}')), undefined);
    assert.match(policy.refusalOf(terminal('sudo -i')) ?? '', /"no root shells"/);
    assert.match(policy.refusalOf(terminal('bash')) ?? '', /by name/);
    // Without a command it runs a shell.
    const shells = policyOf(
      'rules: [{ name: sh, deny: { command: /bin/sh } }, { name: t, allow: { type: terminal } }]',
    );
    assert.match(shells.refusalOf(terminal()) ?? '', /"sh"/);
    assert.equal(shells.refusalOf(terminal('bash')), undefined);
  });
});

describe('a sandbox that a policy demands', () => {
  const policy = policyOf(`
    default: deny
    rules:
      - { name: fenced, sandbox: { for: { type: [shell, python] }, writable: ["/srv/scratch/*"] } }
      - { name: open, sandbox: { for: { type: web }, network: true } }
      - { name: these, allow: { type: [shell, web] } }
  `);
  const boxed = (sandbox: unknown, taskType = 'shell'): Subject =>
    job({ taskType, run: JSON.stringify({ sandbox }) });

  test('must be asked for', () => {
    assert.equal(policy.refusalOf(boxed(true)), undefined);
    for (const subject of [job(), boxed(false)])
      assert.match(policy.refusalOf(subject) ?? '', /"fenced" .* in a sandbox only/);
    const ofAll = policyOf('rules: [{ name: all, sandbox: {} }]');
    for (const taskType of ['docker', 'terminal', 'mine'])
      assert.match(ofAll.refusalOf(job({ taskType })) ?? '', /"all" .* in a sandbox only/);
  });

  test('lets nothing through by itself', () => {
    assert.match(policy.refusalOf(boxed(true, 'python')) ?? '', /no rule/);
  });

  test('is not wider than the rule says', () => {
    const writing = (...writable: string[]): Subject => boxed({ writable });
    assert.equal(policy.refusalOf(writing('/srv/scratch/a/', '/srv/scratch/b')), undefined);
    for (const path of ['/', '/srv', '/srv/scratch/../../etc', '/srv/scratchy', '/srv/scratch'])
      assert.match(
        policy.refusalOf(writing('/srv/scratch/a', path)) ?? '',
        /^the rule "fenced" of the policy does not let it write to \//,
        path,
      );
    assert.match(policy.refusalOf(boxed({ network: true })) ?? '', /"fenced".* the network/);
    assert.equal(policy.refusalOf(boxed({ network: true }, 'web')), undefined);
    assert.match(policy.refusalOf(boxed({ writable: ['/srv'] }, 'web')) ?? '', /"open".*\/srv/);
  });

  test('is looked at by what its paths lead to, where that is known', () => {
    const subject = boxed({ writable: ['/srv/scratch/a'] });
    assert.equal(policy.refusalOf(subject, ['/srv/scratch/b']), undefined);
    assert.match(policy.refusalOf(subject, ['/etc']) ?? '', /"fenced" .* to \/etc/);
  });
});
