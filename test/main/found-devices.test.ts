import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { foundDevices } from '../../src/main/found-devices.ts';

/** A driver's program that says this; there is no device in the machines this is tested on. */
function driver(t: TestContext, script: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-driver-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'nvidia-smi'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return folder;
}

describe('graphics processors', () => {
  test('are counted and named as their driver says', async (t) => {
    const two = driver(t, '[ "$1" = --query-gpu=name ] && printf \'NVIDIA A100\\nNVIDIA A100\\n\'');
    assert.deepEqual(await foundDevices(two), {
      gpu: 'true',
      'gpu.count': '2',
      'gpu.name': 'NVIDIA A100',
    });
  });

  test('are none where there is no driver, or no device', async (t) => {
    assert.deepEqual(await foundDevices('/nowhere'), {});
    assert.deepEqual(await foundDevices(driver(t, 'echo "no devices" >&2; exit 9')), {});
    assert.deepEqual(await foundDevices(driver(t, 'exit 0')), {});
  });
});
