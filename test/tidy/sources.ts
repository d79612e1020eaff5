/**
 * The source files as data for test/tidy.test.ts. Imports are found by text, since the formatter
 * gives them one form and type imports must count; everything else is asked of the syntax tree,
 * which has the types blanked out, so that positions and lines are those of the file.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AnyNode, type Program, parse } from 'acorn';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Source {
  /** From the top of the checkout: `src/core/job.ts`. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

export interface Import {
  /** As written: `node:fs`, `yaml`, `../base/ids.ts`. */
  readonly specifier: string;
  /** Path of the file it names; undefined for a package. */
  readonly target: string | undefined;
  readonly isDynamic: boolean;
}

/** All TypeScript files below these folders, without generated code and packages; sorted. */
export function readSources(...folders: string[]): Source[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        join(folder, name),
      ),
    )
    .filter((path) => path.endsWith('.ts') && !/^src\/wire\/gen\/|\/node_modules\//.test(path))
    .sort()
    .map(readSource);
}

function readSource(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const statics = [...text.matchAll(/^(?:(?:import|export)\b[^;'"=]*?\bfrom|import) '([^']+)'/gm)];
  const dynamics = [...text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)];
  return {
    path,
    text,
    imports: [
      ...statics.map((match) => toImport(path, match[1] ?? '', false)),
      ...dynamics.map((match) => toImport(path, match[1] ?? '', true)),
    ],
  };
}

function toImport(path: string, specifier: string, isDynamic: boolean): Import {
  const target = specifier.startsWith('.')
    ? relative('.', normalize(join(dirname(path), specifier)))
    : undefined;
  return { specifier, target, isDynamic };
}

export function parseSource(source: Source): Program {
  const script = stripTypeScriptTypes(source.text);
  return parse(script, { ecmaVersion: 'latest', sourceType: 'module', locations: true });
}

/** Every node of the tree below this one, parents before children. */
export function* walk(node: AnyNode): Generator<AnyNode> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) yield* walk(child);
    }
  }
}

const isNode = (value: unknown): value is AnyNode =>
  typeof value === 'object' && value !== null && typeof (value as AnyNode).type === 'string';

/** `src/core/job.ts:12`, where an editor can jump to. */
export const placeOf = (source: Source, node: AnyNode): string =>
  `${source.path}:${node.loc?.start.line}`;
