import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { includesRole } from '../../src/api/api.ts';
import { deriveApiTokens } from '../../src/api/api-tokens.ts';

describe('API tokens', () => {
  const tokens = deriveApiTokens(Buffer.alloc(32, 7));

  test('are the same at every node of a mesh, and others in another mesh', () => {
    assert.deepEqual(deriveApiTokens(Buffer.alloc(32, 7)), tokens);
    assert.notEqual(deriveApiTokens(Buffer.alloc(32, 8)).read, tokens.read);
  });

  test('never change, since people keep them', () => {
    assert.equal(tokens.read, 'mesh-read-LYp6kKlyI-j1wghVeeWIKbPTUiqQhK0KsUdP3c2Fem8');
  });

  test('differ by role in more than their name', () => {
    const secrets = Object.values(tokens).map((token) => token.split('-').slice(2).join('-'));
    assert.equal(new Set(secrets).size, 3);
  });

  test('of a higher role include the lower ones', () => {
    assert.ok(includesRole('admin', 'read') && includesRole('submit', 'submit'));
    assert.ok(!includesRole('read', 'submit') && !includesRole('submit', 'admin'));
  });
});
