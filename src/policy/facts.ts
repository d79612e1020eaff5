/**
 * What the rules of a policy look at: the parts of a job that say what it does to a machine, brought
 * to one form whatever its task type calls them.
 */
import { isAbsolute, join, normalize } from 'node:path';
import { parseRunText } from '../run/run-options.ts';

/** What of a job the rules look at: a part of its `JobSpec`. */
export interface Subject {
  readonly taskType: string;
  readonly command: string;
  /** JSON texts. */
  readonly params: string;
  readonly run: string;
  readonly workingDir?: string | undefined;
}

export interface Facts {
  /** Lists, as the patterns of a rule are held against every text of one. Never empty but `mounts`. */
  readonly texts: Readonly<Record<TextFact, readonly string[]>>;
  /** That it asks for; undefined: none. */
  readonly sandbox: SandboxFacts | undefined;
}

export type TextFact = 'type' | 'command' | 'user' | 'image' | 'mounts';

export interface SandboxFacts {
  readonly hasNetwork: boolean;
  /** Paths it may write to beside its own folder. */
  readonly writable: readonly string[];
}

export const TERMINAL = 'terminal';
/** What a terminal runs that names no command. */
const SHELL = '/bin/sh';

/**
 * Undefined: the job is not understood.
 * @param opened what its sandbox opens, without links, where that is known
 */
export function factsOf(subject: Subject, opened?: readonly string[]): Facts | undefined {
  const { taskType, params, run, workingDir } = subject;
  const options = parseRunText(run);
  const given = objectOf(params);
  if (typeof options === 'string' || !given) return undefined;
  const { user = '', sandbox, inputs = [] } = options;
  const asked = sandbox === true ? {} : sandbox || undefined;
  const writable = (opened ?? asked?.writable ?? []).map(normalized);
  // The node puts them there, whatever the job itself may do.
  const put = workingDir === undefined ? [] : inputs.map(({ path }) => join(workingDir, path));
  return {
    texts: {
      type: [taskType],
      command: [commandOf(subject, options.argv, given)],
      // The engines take 00 for 0.
      user: [user.replace(/^0+(?=\d+$)/, '')],
      image: [typeof given.image === 'string' ? given.image : ''],
      mounts: [...mountsOf(given.mounts).map(normalized), ...writable, ...put],
    },
    sandbox: asked && { hasNetwork: asked.network === true, writable },
  };
}

/** A list of words with blanks between. Of a container and of Python it is in the parameters. */
function commandOf(
  { taskType, command }: Subject,
  argv: readonly string[] | undefined,
  { command: inside, code, script, args }: Readonly<Record<string, unknown>>,
): string {
  const own = argv?.join(' ') ?? command;
  switch (taskType) {
    case 'docker':
      return inside === undefined ? own : wordsOf(inside);
    case 'python':
      return script === undefined ? wordsOf(code ?? own) : wordsOf([script, ...listOf(args)]);
    case TERMINAL:
      return own.trim() === '' ? SHELL : own;
    default:
      return own;
  }
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const wordsOf = (value: unknown): string =>
  Array.isArray(value) ? value.map(String).join(' ') : String(value);

function objectOf(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return value !== null && typeof value === 'object' ? { ...value } : {};
  } catch {
    return undefined;
  }
}

/** `source:target[:ro]`, or `{ source, … }`. */
const mountsOf = (mounts: unknown): string[] =>
  listOf(mounts).map((mount) =>
    typeof mount === 'string'
      ? (mount.split(':')[0] ?? '')
      : String((mount as { source?: unknown } | null)?.source ?? ''),
  );

/** `/srv/data/../../etc/` is `/etc`. */
function normalized(path: string): string {
  if (!isAbsolute(path)) return path;
  const plain = normalize(path);
  return plain === '/' ? plain : plain.replace(/\/+$/, '');
}
