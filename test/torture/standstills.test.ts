import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readStandstills } from '../../src/torture/standstills.ts';

test('times in which a node stood still are read from its log, and nothing else is', () => {
  const log = [
    '{"level":40,"time":"2026-11-21T12:00:05.000Z","node":"n","lateMs":400,"msg":"event loop stood still"}',
    '{"level":30,"time":"2026-11-21T12:00:06.000Z","node":"n","msg":"node is up"}',
    '{"level":40,"time":"2026-11-21T12:00:07.000Z","lateMs":"x","msg":"event loop stood still"}',
    '{"level":40,"time":"2026-11-21T12:00:08.000Z","lateMs":300,"msg":"event loop stood still"',
  ].join('\n');
  const began = Date.parse('2026-11-21T12:00:00.000Z');
  assert.deepEqual(readStandstills(log, 'node1', began), [
    { kind: 'standstill', nodes: ['node1'], from: 4600, to: 5000 },
  ]);
});
