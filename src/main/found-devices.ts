/** What this machine has that nobody has to name: its graphics processors, as their driver says. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** The driver takes some seconds where nothing keeps it loaded. */
const DEADLINE_MS = 20_000;
const MAX_VALUE_CHARS = 256;

const run = promisify(execFile);

/**
 * Capability → value: `gpu`, `gpu.count` and `gpu.name` (each model once). Never rejects.
 * @param path PATH in which the driver's program is looked for
 */
export async function foundDevices(path: string | undefined): Promise<Record<string, string>> {
  try {
    const args = ['--query-gpu=name', '--format=csv,noheader'];
    const env = { ...process.env, PATH: path ?? '' };
    const { stdout } = await run('nvidia-smi', args, { timeout: DEADLINE_MS, env });
    const names = stdout
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
    if (names.length === 0) return {};
    const models = [...new Set(names)].join(', ').slice(0, MAX_VALUE_CHARS);
    return { gpu: 'true', 'gpu.count': String(names.length), 'gpu.name': models };
  } catch {
    // No such program, or no such device: it says so with its exit code.
    return {};
  }
}
