/**
 * Task type `python`: source or a script file, by the interpreter that the node's setting names,
 * as a process group like any shell job. A virtual environment is named by its own interpreter
 * (`--python /srv/venv/bin/python`), which finds its packages by itself.
 *
 * Always unbuffered: what is printed is to be seen as it is printed, and not lost with a SIGKILL.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf } from '../base/errors.ts';
import { type PythonParams, pythonParams } from '../run/python-params.ts';
import { parseParams } from '../run/task-params.ts';
import type { Sighting, TaskType } from './task-type.ts';

const LOOK_DEADLINE_MS = 10_000;
const VERSION = /^Python (\d[\w.+-]*)/;

const run = promisify(execFile);

/** @param interpreter a path, or a name that is looked for in the node's PATH */
export const makePython = (interpreter: string): TaskType => ({
  name: 'python',
  look: () => look(interpreter),
  looksSlowly: true,
  launch: async ({ order, startGroup }) => {
    const params = parseParams(pythonParams, order.grant.spec);
    if (typeof params === 'string') return { tag: 'failed', reason: params };
    return startGroup([interpreter, '-u', ...argumentsOf(params)]);
  },
});

function argumentsOf({ code, script = '', args = [] }: PythonParams): readonly string[] {
  if (code !== undefined) return ['-c', code, ...args];
  // A script may have any name, and is no option of the interpreter.
  return [script.startsWith('-') ? `./${script}` : script, ...args];
}

async function look(interpreter: string): Promise<Sighting> {
  try {
    // Its version was printed to stderr by Python 2, which is not served.
    const { stdout } = await run(interpreter, ['--version'], { timeout: LOOK_DEADLINE_MS });
    const version = VERSION.exec(stdout)?.[1];
    if (version !== undefined)
      return {
        tag: 'present',
        version,
        capabilities: { python: 'true', 'python.version': version },
      };
    return absent(interpreter, 'it does not say its version like a Python 3 does');
  } catch (thrown) {
    const isMissing = (thrown as { code?: unknown }).code === 'ENOENT';
    return absent(interpreter, isMissing ? 'there is no such program' : messageOf(thrown));
  }
}

const absent = (interpreter: string, why: string): Sighting => ({
  tag: 'absent',
  reason: `${interpreter} cannot be used as its interpreter (${why}). Install Python 3, or name one with --python.`,
});
