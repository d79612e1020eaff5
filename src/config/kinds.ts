/**
 * What the values of settings may look like. A kind reads text, wherever it came from, and says
 * in one phrase what it would have taken, so that every refusal can tell the user what to write.
 */
import { parseDurationMs } from '../base/instant.ts';

export interface Kind<Value> {
  /** Stands for the value in the help: `<port>`. Empty: the flag is a switch and takes none. */
  readonly placeholder: string;
  /** Completes the sentence "It must be …". */
  readonly allowed: string;
  /** A flag that is given again adds to what it had. */
  readonly isList?: true;
  /** Undefined: the text is not allowed. */
  parse(text: string): Value | undefined;
}

const SIZE_UNIT_BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
};

export function text(rule: { allowed: string; pattern: RegExp }): Kind<string> {
  return {
    placeholder: '<text>',
    allowed: rule.allowed,
    parse: (raw) => (rule.pattern.test(raw) ? raw : undefined),
  };
}

export const path: Kind<string> = {
  placeholder: '<path>',
  allowed: 'a path',
  parse: (raw) => (raw === '' || raw.includes('\0') ? undefined : raw),
};

/** Absolute ones, in the order given; `ending` is what each may have behind it. */
export function paths(rule: { ending: string }): Kind<readonly string[]> {
  return {
    placeholder: '<path,…>',
    allowed: `a comma-separated list of absolute paths, each with ${rule.ending} behind it or not`,
    parse: (raw) => {
      const items = splitList(raw);
      return items.every((item) => item.startsWith('/') && !item.includes('\0'))
        ? items
        : undefined;
    },
  };
}

/** In the order given; a flag may also be repeated. */
export const files: Kind<readonly string[]> = {
  placeholder: '<path,…>',
  allowed: 'a comma-separated list of paths',
  isList: true,
  parse: (raw) => (raw.includes('\0') ? undefined : splitList(raw)),
};

export const port: Kind<number> = {
  ...integer({ min: 0, max: 65_535 }),
  placeholder: '<port>',
  allowed: 'a port number from 0 to 65535, where 0 takes any free port',
};

export function integer(range: { min: number; max: number }): Kind<number> {
  return {
    placeholder: '<number>',
    allowed: `a whole number from ${range.min} to ${range.max}`,
    parse: (raw) => (/^\d{1,15}$/.test(raw) ? within(Number(raw), range) : undefined),
  };
}

/** In milliseconds. */
export function duration(range: { min: string; max: string }): Kind<number> {
  const bounds = { min: durationMs(range.min), max: durationMs(range.max) };
  return {
    placeholder: '<duration>',
    allowed: `a duration from ${range.min} to ${range.max}, such as 500ms, 5s, 2m, 1h, 7d or 5 (seconds)`,
    parse: (raw) => {
      const ms = parseDurationMs(raw);
      return ms === undefined ? undefined : within(ms, bounds);
    },
  };
}

/** In bytes. */
export function size(range: { min: string; max: string }): Kind<number> {
  const bounds = { min: parseSizeBytes(range.min) ?? 0, max: parseSizeBytes(range.max) ?? 0 };
  return {
    placeholder: '<size>',
    allowed: `a size from ${range.min} to ${range.max}, such as 512KiB, 64MiB or 1048576 (bytes)`,
    parse: (raw) => {
      const bytes = parseSizeBytes(raw);
      return bytes === undefined ? undefined : within(bytes, bounds);
    },
  };
}

export const onOff: Kind<boolean> = {
  placeholder: '<on|off>',
  allowed: 'on or off',
  parse: (raw) => {
    if (/^(on|true|yes|1)$/i.test(raw)) return true;
    return /^(off|false|no|0)$/i.test(raw) ? false : undefined;
  },
};

/** As a flag it stands alone; from elsewhere it reads like {@link onOff}. */
export const flagOnly: Kind<boolean> = { ...onOff, placeholder: '' };

export function oneOf<const Choice extends string>(choices: readonly Choice[]): Kind<Choice> {
  return {
    placeholder: `<${choices.join('|')}>`,
    allowed: `one of ${choices.join(', ')}`,
    parse: (raw) => choices.find((choice) => choice === raw.toLowerCase()),
  };
}

/** Sorted, unique, in lower case. */
export function words(rule: { allowed: string; pattern: RegExp }): Kind<readonly string[]> {
  return {
    placeholder: '<a,b,…>',
    allowed: `a comma-separated list of ${rule.allowed}`,
    parse: (raw) => {
      const items = splitList(raw).map((item) => item.toLowerCase());
      return items.every((item) => rule.pattern.test(item))
        ? [...new Set(items)].sort()
        : undefined;
    },
  };
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;
const MAX_PAIRS = 64;
const MAX_VALUE_LENGTH = 256;

/** name → value, names unique; a name without a value gets `lone`, or is refused when that is undefined. */
export function pairs(rule: { lone?: string }): Kind<Readonly<Record<string, string>>> {
  return {
    placeholder: rule.lone === undefined ? '<k=v,…>' : '<k,k=v,…>',
    allowed:
      `a comma-separated list of ${rule.lone === undefined ? 'name=value' : 'name or name=value'}, ` +
      `at most ${MAX_PAIRS}, each name once, with names of letters, digits and ._/-`,
    parse: (raw) => parsePairs(raw, rule.lone),
  };
}

function parsePairs(raw: string, lone: string | undefined): Record<string, string> | undefined {
  const found = new Map<string, string>();
  for (const item of splitList(raw)) {
    const at = item.indexOf('=');
    const name = (at < 0 ? item : item.slice(0, at)).trim();
    const value = at < 0 ? lone : item.slice(at + 1).trim();
    if (value === undefined || value.length > MAX_VALUE_LENGTH) return undefined;
    if (!NAME.test(name) || found.has(name)) return undefined;
    found.set(name, value);
  }
  return found.size > MAX_PAIRS ? undefined : Object.fromEntries(found);
}

export function parseSizeBytes(raw: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]+)?$/.exec(raw.trim());
  if (!match?.[1]) return undefined;
  const unitBytes = SIZE_UNIT_BYTES[(match[2] ?? 'b').toLowerCase()];
  return unitBytes === undefined ? undefined : Math.round(Number(match[1]) * unitBytes);
}

const durationMs = (known: string): number => parseDurationMs(known) ?? 0;

const within = (value: number, range: { min: number; max: number }): number | undefined =>
  value >= range.min && value <= range.max ? value : undefined;

const splitList = (raw: string): string[] =>
  raw
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
