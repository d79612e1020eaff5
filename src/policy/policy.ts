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
 * - A rule `sandbox` lets nothing through: a job it is for must ask for a sandbox that is no wider,
 *   then the next rule is looked at. What a sandbox opens is looked at once more when it is made,
 *   without links: who may write to one folder could put a link to another one there.
 * - A terminal is a shell, so it has to get past the rules for `shell` as well. And nobody can read
 *   what will be typed into it: where any rule is about commands, only a rule that allows the type
 *   `terminal` by its name lets one through, and no other rule or default, or each such policy would
 *   have a hole that its author has never heard of.
 *
 * It is a fence for honest people, not a sandbox: who may run `sh` may run anything that `sh` may.
 */
import { parse } from 'yaml';
import * as z from 'zod';
import { MeshError, messageOf } from '../base/errors.ts';
import { type Facts, factsOf, type SandboxFacts, type Subject, TERMINAL } from './facts.ts';

export interface Policy {
  /**
   * A sentence that names the rule; undefined: the job may run.
   * @param opened paths that its sandbox is about to open on this machine, without links
   */
  refusalOf(subject: Subject, opened?: readonly string[]): string | undefined;
}

export const NO_POLICY: Policy = { refusalOf: () => undefined };

const patterns = z.union([z.string(), z.array(z.string()).min(1)], 'must be a pattern or a list');

const match = z.strictObject(
  {
    type: patterns.optional(),
    /** The command; of a list of words these with blanks between. */
    command: patterns.optional(),
    /** The user that the job names; empty: it names none. */
    user: patterns.optional(),
    image: patterns.optional(),
    /** Paths of this machine that it mounts, may write to, or has input files put at. */
    mounts: patterns.optional(),
  },
  'must be an object of patterns',
);

const bounds = z.strictObject(
  {
    /** Which jobs; default: all. */
    for: match.default({}),
    network: z.boolean('must be true or false').default(false),
    /** What they may write to beside their own folder; default: nothing. */
    writable: patterns.default([]),
  },
  'must be an object of for, network and writable',
);

const rule = z
  .strictObject(
    {
      name: z.string('must be a text').min(1).max(100),
      allow: match.optional(),
      deny: match.optional(),
      sandbox: bounds.optional(),
    },
    'must be an object with name and allow, deny or sandbox',
  )
  .refine(
    ({ allow, deny, sandbox }) =>
      [allow, deny, sandbox].filter((each) => each !== undefined).length === 1,
    'must have one of allow, deny and sandbox',
  );

const policySchema = z.strictObject(
  {
    default: z.enum(['allow', 'deny'], 'must be allow or deny').default('allow'),
    rules: z.array(rule, 'must be a list').default([]),
  },
  'must be an object with default and rules',
);

type Match = z.output<typeof match>;
type Verdict = { readonly tag: 'allowed' } | { readonly tag: 'refused'; readonly why: string };

interface Rule {
  readonly name: string;
  /** It looks at commands. */
  readonly isOfCommands: boolean;
  /** It lets terminals through, and says so. */
  readonly allowsTerminals: boolean;
  readonly allows: boolean;
  /** Undefined: the next rule is asked. */
  readonly judge: (facts: Facts) => Verdict | undefined;
}

/** @param file for messages @throws MeshError BAD_SETTING that names the line or the field */
export function parsePolicy(file: string, content: string): Policy {
  const parsed = policySchema.safeParse(parseYaml(file, content) ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(file, `${issue?.path.map(String).join('.') ?? ''} ${issue?.message ?? ''}`.trim());
  }
  const rules = parsed.data.rules.map(toRule);
  const isOpen = parsed.data.default === 'allow';
  return {
    refusalOf: (subject, opened) => {
      const facts = factsOf(subject, opened);
      if (!facts) return 'the policy of the node cannot be applied: its options are not understood';
      const isTerminal = subject.taskType === TERMINAL;
      const verdict = isTerminal ? ofTerminal(rules, isOpen, facts) : decide(rules, isOpen, facts);
      return verdict.tag === 'refused' ? verdict.why : undefined;
    },
  };
}

interface Decided {
  readonly rule: Rule;
  readonly verdict: Verdict;
}

function firstOf(rules: readonly Rule[], facts: Facts): Decided | undefined {
  for (const rule of rules) {
    const verdict = rule.judge(facts);
    if (verdict) return { rule, verdict };
  }
  return undefined;
}

const decide = (rules: readonly Rule[], isOpen: boolean, facts: Facts): Verdict =>
  firstOf(rules, facts)?.verdict ?? (isOpen ? ALLOWED : refused('no rule of the policy allows it'));

function ofTerminal(rules: readonly Rule[], isOpen: boolean, facts: Facts): Verdict {
  const ofCommands = rules.find(({ isOfCommands }) => isOfCommands);
  // Who wrote the other allow rules did not think of terminals, or would have named them.
  const binding = ofCommands
    ? rules.filter(({ allows, allowsTerminals }) => !allows || allowsTerminals)
    : rules;
  const named = firstOf(binding, facts);
  if (named && (named.verdict.tag === 'refused' || named.rule.allowsTerminals))
    return named.verdict;
  if (ofCommands) return refused(unreadable(ofCommands.name));
  if (!named && !isOpen) return decide(rules, isOpen, facts);
  return decide(rules, isOpen, { ...facts, texts: { ...facts.texts, type: ['shell'] } });
}

const unreadable = (name: string): string =>
  `the rule "${name}" of the policy is about commands, and what is typed into a terminal cannot be read: only a rule that allows the type ${TERMINAL} by name lets one through`;

// ---------------------------------------------------------------- rules

function toRule({ name, allow, deny, sandbox }: z.output<typeof rule>): Rule {
  const given = allow ?? deny ?? sandbox?.for ?? {};
  const about = {
    name,
    isOfCommands: given.command !== undefined,
    allows: allow !== undefined,
    allowsTerminals: [allow?.type ?? []].flat().includes(TERMINAL),
  };
  if (sandbox) return { ...about, judge: judgeSandbox(name, sandbox) };
  const fits = compile(given, allow ? 'every' : 'some');
  const verdict = allow ? ALLOWED : refused(`the rule "${name}" of the policy denies it`);
  return { ...about, judge: (facts) => (fits(facts) ? verdict : undefined) };
}

function judgeSandbox(name: string, bound: z.output<typeof bounds>): Rule['judge'] {
  const isFor = compile(bound.for, 'some');
  const mayWriteTo = [bound.writable].flat().map(toExpression);
  const tooWide = ({ hasNetwork, writable }: SandboxFacts): string | undefined => {
    if (hasNetwork && !bound.network) return 'does not let it have the network';
    const path = writable.find((each) => !mayWriteTo.some((pattern) => pattern.test(each)));
    return path === undefined ? undefined : `does not let it write to ${path}`;
  };
  return (facts) => {
    if (!isFor(facts)) return undefined;
    const why = facts.sandbox ? tooWide(facts.sandbox) : 'lets it run in a sandbox only';
    return why === undefined ? undefined : refused(`the rule "${name}" of the policy ${why}`);
  };
}

const ALLOWED: Verdict = { tag: 'allowed' };
const refused = (why: string): Verdict => ({ tag: 'refused', why });

// ---------------------------------------------------------------- patterns

function compile(given: Match, how: 'every' | 'some'): (facts: Facts) => boolean {
  const tests = Object.entries(given).map(([field, listed]) => {
    const expressions = [listed ?? []].flat().map(toExpression);
    const isFitted = (text: string): boolean => expressions.some((each) => each.test(text));
    return ({ texts }: Facts): boolean => {
      const values = texts[field as keyof Match];
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
