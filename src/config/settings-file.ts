/**
 * The settings file: a flat YAML map, its keys the names of the settings. An unknown key stops
 * the start, because a misspelt setting that is silently ignored is found much later.
 */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { MeshError, messageOf } from '../base/errors.ts';

/** Undefined: there is no such file. @throws MeshError BAD_SETTING when it is there and can't be read. */
export function readSettingsFile(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new MeshError(
      'BAD_SETTING',
      `The settings file ${file} cannot be read: ${messageOf(cause)}. Mend it, or name another file with --config.`,
      { cause },
    );
  }
}

/** Name → value in text form. @throws MeshError BAD_SETTING */
export function parseSettingsFile(
  file: string,
  content: string,
  isKnown: (name: string) => boolean,
): Map<string, string> {
  const document = parseYaml(file, content);
  if (document === null || document === undefined) return new Map();
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw bad(file, 'must be a list of lines like `api-port: 3001`');
  }
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(document)) {
    if (!isKnown(name)) {
      throw bad(
        file,
        `names "${name}", which is not a setting it may have. \`mesh up --help\` lists them all`,
      );
    }
    if (value !== null) values.set(name, toText(file, name, value));
  }
  return values;
}

function parseYaml(file: string, content: string): unknown {
  try {
    return parse(content, { maxAliasCount: 100 });
  } catch (cause) {
    throw bad(file, `is not YAML: ${messageOf(cause).split('\n')[0]}`, cause);
  }
}

/** A list or map becomes the comma-separated form that flags and environment use. */
function toText(file: string, name: string, value: unknown): string {
  if (Array.isArray(value)) return value.map((item) => scalar(file, name, item)).join(',');
  if (typeof value !== 'object') return scalar(file, name, value, true);
  return Object.entries(value as object)
    .map(([key, item]) => `${key}=${scalar(file, name, item)}`)
    .join(',');
}

function scalar(file: string, name: string, value: unknown, isWhole = false): string {
  const isPlain = ['string', 'number', 'boolean'].includes(typeof value);
  const asText = String(value);
  if (isPlain && (isWhole || !asText.includes(','))) return asText;
  throw bad(
    file,
    `gives ${name} a value of the wrong form: items must be plain and without commas`,
  );
}

const bad = (file: string, what: string, cause?: unknown): MeshError =>
  new MeshError('BAD_SETTING', `The settings file ${file} ${what}.`, { cause });
