/** Key file, data folder, disk. */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { readMeshKey } from '../../links/mesh-key.ts';
import type { Finding } from './finding.ts';
import { inArea } from './finding.ts';

const LOW_DISK_BYTES = 256 * 1024 * 1024;

/** @returns the id of the key too, with which heartbeats of this mesh are told from others */
export function checkKey(file: string): { findings: Finding[]; keyId: string | undefined } {
  const say = inArea('key');
  try {
    const key = readMeshKey(file);
    if (key)
      return {
        findings: [say('ok', `This is mesh ${key.id}: ${file}, for you alone to read.`)],
        keyId: key.id,
      };
    const text = `There is no mesh key yet (${file}).`;
    const advice = 'The first node makes one. To join the mesh of another machine: mesh join';
    return { findings: [say('note', text, advice)], keyId: undefined };
  } catch (failure) {
    return { findings: [say('problem', messageOf(failure))], keyId: undefined };
  }
}

export function checkDataFolder(folder: string): Finding[] {
  const say = inArea('disk');
  const existing = nearestExisting(folder);
  try {
    fs.accessSync(existing, fs.constants.W_OK | fs.constants.X_OK);
    const { bavail, bsize } = fs.statfsSync(existing);
    const freeBytes = bavail * bsize;
    const free = `${Math.round(freeBytes / 1024 / 1024)} MiB free`;
    if (freeBytes < LOW_DISK_BYTES) {
      return [
        say(
          'problem',
          `The disk of ${folder} is nearly full: ${free}.`,
          'Free some space: a node whose disk takes no writes takes no jobs.',
        ),
      ];
    }
    return [say('ok', `The data folder ${folder} can be written; ${free}.`)];
  } catch (failure) {
    return [
      say(
        'problem',
        `The data folder ${folder} cannot be used: ${messageOf(failure)}.`,
        'Make it writable for you, or choose another with --data-dir (MESH_DATA_DIR).',
      ),
    ];
  }
}

function nearestExisting(folder: string): string {
  const parent = dirname(folder);
  return fs.existsSync(folder) || parent === folder ? folder : nearestExisting(parent);
}
