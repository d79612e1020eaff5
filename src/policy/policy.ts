/**
 * What jobs a node lets through, by rules of its operator. The same rules are asked twice: where a
 * job is submitted, so that its sender hears at once, and where it runs, because the node that took
 * it may have other rules, or none.
 *
 * The first rule whose every pattern fits decides; where none fits, `default` does. A pattern is a
 * text in which `*` stands for anything, and must fit from end to end. A list of patterns fits when
 * one of them does. Of several mounts an allow rule must fit every one, or it would let through what
 * stands beside; a deny rule needs to fit only one.
 *
 * It is a fence for honest people, not a sandbox: who may run `sh` may run anything that `sh` may.
 */
import { isAbsolute, normalize } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';
import { MeshError, messageOf } from '../base/errors.ts';
import { parseRunText } from '../run/run-options.ts';

/** What of a job the rules look at: a part of its `JobSpec`. */
export interface Subject {
  readonly taskType: string;
  readonly command: string;
  /** JSON texts. */
  readonly params: string;
  readonly run: string;
}

export interface Policy {
  /** A sentence that names the rule; undefined: the job may run. */
  refusalOf(subject: Subject): string | undefined;
}

export const NO_POLICY: Policy = { refusalOf: () => undefined };

const patterns = z.union([z.string(), z.array(z.string()).min(1)], 'must be a pattern or a list');

const match = z.strictObject(
  {
    type: patterns.optional(),
    /** The command, or the arguments of argv with blanks between. */
    command: patterns.optional(),
    /** The user that the job names; empty: it names none. */
    user: patterns.optional(),
    image: patterns.optional(),
    /** Paths of this machine that it mounts or may write to. */
    mounts: patterns.optional(),
  },
  'must be an object of patterns',
);

const rule = z
  .strictObject(
    {
      name: z.string('must be a text').min(1).max(100),
      allow: match.optional(),
      deny: match.optional(),
    },
    'must be an object with name and allow or deny',
  )
  .refine(
    ({ allow, deny }) => (allow === undefined) !== (deny === undefined),
    'must have one of allow and deny',
  );

const policySchema = z.strictObject(
  {
    default: z.enum(['allow', 'deny'], 'must be allow or deny').default('allow'),
    rules: z.array(rule, 'must be a list').default([]),
  },
  'must be an object with default and rules',
);

type Facts = Readonly<Record<keyof z.output<typeof match>, readonly string[]>>;

interface Rule {
  readonly name: string;
  readonly isAllowed: boolean;
  readonly fits: (facts: Facts) => boolean;
}

/** @param file for messages @throws MeshError BAD_SETTING that names the line or the field */
export function parsePolicy(file: string, content: string): Policy {
  const parsed = policySchema.safeParse(parseYaml(file, content) ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(file, `${issue?.path.map(String).join('.') ?? ''} ${issue?.message ?? ''}`.trim());
  }
  const rules = parsed.data.rules.map(({ name, allow, deny }) => ({
    name,
    isAllowed: allow !== undefined,
    fits: allow ? compile(allow, 'every') : compile(deny ?? {}, 'some'),
  }));
  return { refusalOf: (subject) => refusalBy(rules, parsed.data.default, factsOf(subject)) };
}

function refusalBy(
  rules: readonly Rule[],
  fallback: 'allow' | 'deny',
  facts: Facts | undefined,
): string | undefined {
  if (!facts) return 'the policy of the node cannot be applied: its options are not understood';
  const first = rules.find(({ fits }) => fits(facts));
  if (first)
    return first.isAllowed ? undefined : `the rule "${first.name}" of the policy denies it`;
  return fallback === 'allow' ? undefined : 'no rule of the policy allows it';
}

// ---------------------------------------------------------------- what a job is

function factsOf({ taskType, command, params, run }: Subject): Facts | undefined {
  const options = parseRunText(run);
  const given = objectOf(params);
  if (typeof options === 'string' || !given) return undefined;
  const { argv, user, sandbox } = options;
  const writable = typeof sandbox === 'object' ? (sandbox.writable ?? []) : [];
  return {
    type: [taskType],
    command: [argv?.join(' ') ?? command],
    user: [user ?? ''],
    image: [typeof given.image === 'string' ? given.image : ''],
    mounts: [...mountsOf(given.mounts), ...writable].map(normalized),
  };
}

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
  (Array.isArray(mounts) ? mounts : []).map((mount) =>
    typeof mount === 'string' ? (mount.split(':')[0] ?? '') : String(mount?.source ?? ''),
  );

/** `/srv/data/../../etc` is `/etc`. */
const normalized = (path: string): string => (isAbsolute(path) ? normalize(path) : path);

// ---------------------------------------------------------------- patterns

function compile(given: z.output<typeof match>, how: 'every' | 'some'): Rule['fits'] {
  const tests = Object.entries(given).map(([field, listed]) => {
    const expressions = [listed ?? []].flat().map(toExpression);
    const isFitted = (text: string): boolean => expressions.some((each) => each.test(text));
    return (facts: Facts): boolean => {
      const values = facts[field as keyof Facts];
      return values.length > 0 && values[how](isFitted);
    };
  });
  return (facts) => tests.every((isFitting) => isFitting(facts));
}

const toExpression = (pattern: string): RegExp =>
  new RegExp(`^${pattern.split(/\*+/).map(escaped).join('[^]*')}$`);

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

// ---------------------------------------------------------------- the file

function parseYaml(file: string, content: string): unknown {
  try {
    return parse(content, { maxAliasCount: 100 });
  } catch (cause) {
    throw bad(file, `is not YAML: ${messageOf(cause).split('\n')[0]}`);
  }
}

const bad = (file: string, what: string): MeshError =>
  new MeshError(
    'BAD_SETTING',
    `The policy file ${file} cannot be used: ${what}. Mend it; the node does not start without it.`,
  );
