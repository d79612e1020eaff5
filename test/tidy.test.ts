/**
 * The house rules that a machine can check. Each test lists what breaks its rule, with the place;
 * an exception is a line in this file with its reason.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { AnyNode } from 'acorn';
import { ERROR_CODES } from '../src/base/errors.ts';
import { settingsTable } from '../src/config/help.ts';
import { VERSION } from '../src/version.ts';
import { parseSource, placeOf, ROOT, readSources, type Source, walk } from './tidy/sources.ts';

const sources = readSources('src');
const tests = readSources('test');

const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 60;

/** Layer → the layers it may import beside itself. The arrows point one way. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  config: ['base'],
  core: ['base'],
  wire: ['base', 'core'],
  node: ['base', 'core'],
  discovery: ['base', 'core', 'wire', 'node'],
  links: ['base', 'core', 'wire', 'node'],
  store: ['base', 'core', 'wire', 'node'],
  blobs: ['base', 'core', 'node'],
  run: ['base'],
  policy: ['base', 'run'],
  tasks: [],
  executors: ['base', 'core', 'wire', 'node', 'run', 'policy', 'tasks'],
  api: ['base', 'run'],
  http: ['base', 'core', 'node', 'api', 'policy', 'version'],
  client: ['base', 'api', 'version'],
  cli: ['base', 'api', 'client', 'config', 'version'],
  torture: ['base', 'api', 'client', 'cli', 'version'],
  log: ['base', 'core'],
  version: [],
};

/** Puts the parts together, so it may import all of them. */
const COMPOSITION_ROOT = 'main';
/** What users import: a few names of several parts, and the program itself. */
const PACKAGE_ENTRY = 'index';

/** Where something starts: nobody imports these. */
const ENTRIES = [
  'src/main.ts',
  'src/cli/mesh.ts',
  'src/client/index.ts',
  'src/index.ts',
  'src/executors/handlers/process.ts',
];

/** Imports against the arrows, each with its reason. */
const ALLOWED_IMPORTS: Readonly<Record<string, string>> = {
  'src/cli/commands/up.ts -> src/main.ts':
    'this command is the node, and loads it when it is given',
  'src/cli/commands/torture.ts -> src/torture/torture.ts':
    'this command is the torture, and loads it when it is given',
  'src/cli/commands/torture.ts -> src/torture/plan.ts': 'its words are the names of the faults',
  'src/cli/commands/torture.ts -> src/torture/available.ts':
    'a fault that cannot be had here is a wrong word',
  'src/cli/commands/torture.ts -> src/torture/report.ts': 'the report has one text form',
  'src/cli/commands/key.ts -> src/links/mesh-key.ts': 'the key has one text form and one file form',
  'src/cli/commands/key.ts -> src/links/mesh-ca.ts':
    'what clients of HTTPS must trust comes from the key',
  'src/cli/doctor/check-files.ts -> src/links/mesh-key.ts': 'the file is judged as a node would',
};

/** Modules that act when they are imported, each with its reason. */
const ACTS_ON_IMPORT: Readonly<Record<string, string>> = {
  'src/wire/plain-numbers.ts': 'the generated code takes its number format while it is loaded',
  'src/wire/jobs.ts': 'the bytes of a job lie beside it in a weak map, which is empty then',
  'src/wire/shared-parts.ts': 'tables of equal parts of records, which are empty then',
};

const layerOf = (path: string): string =>
  /^src\/([a-z]+)(?:\.ts$|\/)/.exec(path)?.[1] ?? assert.fail(`${path} is in no layer`);

const assertNone = (found: readonly string[]): void => assert.deepEqual(found, []);

describe('imports', () => {
  test('go down the layers only', () => {
    const wrong = sources.flatMap((source) =>
      source.imports.flatMap(({ target }) => {
        if (target === undefined) return [];
        const [from, to] = [layerOf(source.path), layerOf(target)];
        const edge = `${source.path} -> ${target}`;
        const isDown =
          from === COMPOSITION_ROOT || from === PACKAGE_ENTRY || MAY_IMPORT[from]?.includes(to);
        const isAllowed = from === to || isDown || edge in ALLOWED_IMPORTS;
        return isAllowed ? [] : [edge];
      }),
    );
    assertNone(wrong);
  });

  test('need every exception that is made for them', () => {
    const edges = new Set(
      sources.flatMap(({ path, imports }) => imports.map(({ target }) => `${path} -> ${target}`)),
    );
    assertNone(Object.keys(ALLOWED_IMPORTS).filter((edge) => !edges.has(edge)));
  });

  test('name files that exist, with their ending', () => {
    const wrong = [...sources, ...tests].flatMap((source) =>
      source.imports
        .filter(({ target }) => target !== undefined && !isThere(target))
        .map(({ specifier }) => `${source.path} -> ${specifier}`),
    );
    assertNone(wrong);
  });

  test('make no circle, not even of types', () => assertNone(findCycle(sources)));

  test('reach every file from an entry', () => {
    const reached = new Set<string>();
    const byPath = new Map(sources.map((source) => [source.path, source]));
    const visit = (path: string): void => {
      const source = byPath.get(path);
      if (!source || reached.has(path)) return;
      reached.add(path);
      for (const { target } of source.imports) if (target !== undefined) visit(target);
    };
    for (const entry of ENTRIES) visit(entry);
    assertNone(sources.map(({ path }) => path).filter((path) => !reached.has(path)));
  });

  test('leave no file of the tests unused', () => {
    const used = (path: string): boolean =>
      path.endsWith('.test.ts') ||
      path.endsWith('/main.ts') ||
      tests.some((other) => other.path !== path && other.text.includes(basename(path)));
    assertNone(tests.map(({ path }) => path).filter((path) => !used(path)));
  });
});

describe('files', () => {
  test(`have at most ${MAX_FILE_LINES} lines`, () => {
    const wrong = [...sources, ...tests]
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > MAX_FILE_LINES);
    assertNone(wrong.map(({ path, lines }) => `${path}: ${lines} lines`));
  });

  test('are named in kebab-case, and not after a kind', () => {
    const wrong = [...sources, ...tests]
      .map(({ path }) => path)
      .filter(
        (path) =>
          !/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(basename(path)) ||
          /\b(utils?|helpers?|common|misc|managers?|types|classes)\b/.test(path),
      );
    assertNone(wrong);
  });

  test('export by name only', () => {
    const wrong = sources.filter(({ text }) => /^export default\b|\bas default\b/m.test(text));
    assertNone(wrong.map(({ path }) => path));
  });
});

describe('code', () => {
  const trees = sources.map((source) => ({ source, nodes: [...walk(parseSource(source))] }));

  test(`has functions of at most ${MAX_FUNCTION_LINES} lines`, () => {
    const wrong = trees.flatMap(({ source, nodes }) =>
      nodes
        .filter((node) => isFunction(node) && linesOf(node) > MAX_FUNCTION_LINES)
        .map((node) => `${placeOf(source, node)}: ${linesOf(node)} lines`),
    );
    assertNone(wrong);
  });

  test('does nothing when it is imported', () => {
    const wrong = trees
      .filter(({ source }) => !ENTRIES.includes(source.path) && !(source.path in ACTS_ON_IMPORT))
      .flatMap(({ source }) =>
        parseSource(source)
          .body.filter(isActive)
          .map((node) => placeOf(source, node)),
      );
    assertNone(wrong);
  });

  test('is pure and synchronous in core: no clock, chance, promise, locale or log', () => {
    const wrong = trees
      .filter(({ source }) => layerOf(source.path) === 'core')
      .flatMap(({ source, nodes }) => [
        ...nodes.filter(isImpure).map((node) => placeOf(source, node)),
        ...source.imports
          .filter(({ target }) => target === undefined)
          .map(({ specifier }) => `${source.path} -> ${specifier}`),
      ]);
    assertNone(wrong);
  });
});

describe('documents', () => {
  test('the version is that of package.json', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    assert.equal(VERSION, manifest.version);
  });

  test('every error code is used', () => {
    const others = sources.filter(({ path }) => path !== 'src/base/errors.ts');
    const isUsed = (code: string): boolean => others.some(({ text }) => text.includes(`'${code}'`));
    assertNone(Object.keys(ERROR_CODES).filter((code) => !isUsed(code)));
  });

  test('the README has every error code with its meaning', (t) => {
    const readme = readReadme(t);
    if (readme === undefined) return;
    const missing = Object.entries(ERROR_CODES).filter(([code, { meaning, status }]) => {
      const row = readme.split('\n').find((line) => line.includes(`\`${code}\``));
      return !row?.includes(meaning) || !row.includes(String(status));
    });
    assertNone(missing.map(([code]) => code));
  });

  test('the README has the table of settings as it is', (t) => {
    const readme = readReadme(t);
    if (readme === undefined) return;
    const missing = settingsTable()
      .split('\n')
      .filter((row) => !readme.includes(row));
    assertNone(missing);
  });
});

// ---------------------------------------------------------------- details

const isThere = (path: string): boolean =>
  existsSync(join(ROOT, path)) || path.startsWith('src/wire/gen/');

function readReadme(t: TestContext): string | undefined {
  const file = join(ROOT, 'README.md');
  if (existsSync(file)) return readFileSync(file, 'utf8');
  t.skip('there is no README.md yet');
  return undefined;
}

/** The first circle found, as the way around it; empty when there is none. */
function findCycle(all: readonly Source[]): string[] {
  const byPath = new Map(all.map((source) => [source.path, source]));
  const done = new Set<string>();
  const visit = (path: string, way: string[]): string[] => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    const source = byPath.get(path);
    if (!source || done.has(path)) return [];
    for (const { target, isDynamic } of source.imports) {
      const found = target === undefined || isDynamic ? [] : visit(target, [...way, path]);
      if (found.length > 0) return found;
    }
    done.add(path);
    return [];
  };
  return all.map(({ path }) => visit(path, [])).find((cycle) => cycle.length > 0) ?? [];
}

const isFunction = (node: AnyNode): boolean =>
  node.type === 'FunctionDeclaration' ||
  node.type === 'FunctionExpression' ||
  node.type === 'ArrowFunctionExpression';

const linesOf = (node: AnyNode): number =>
  node.loc ? node.loc.end.line - node.loc.start.line + 1 : 0;

/** A statement at the top level that acts, or makes state that can change. */
function isActive(node: AnyNode): boolean {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'FunctionDeclaration':
    case 'ClassDeclaration':
    case 'EmptyStatement':
      return false;
    case 'ExportNamedDeclaration':
      return node.declaration ? isActive(node.declaration) : false;
    case 'VariableDeclaration':
      return node.kind !== 'const' || node.declarations.some(({ init }) => isState(init));
    default:
      return true;
  }
}

/** A collection that is empty at first can only be there to be filled. */
function isState(init: AnyNode | null | undefined): boolean {
  if (!init) return true;
  if (init.type === 'AwaitExpression') return true;
  const isCollection =
    init.type === 'NewExpression' &&
    init.callee.type === 'Identifier' &&
    /^((Weak)?(Map|Set)|Interned|Bodies|SpecParts)$/.test(init.callee.name);
  return isCollection && init.arguments.length === 0;
}

const IMPURE_NAMES = new Set(
  `Date performance crypto Intl Promise console process queueMicrotask structuredClone fetch
   setTimeout setInterval setImmediate clearTimeout clearInterval clearImmediate`.split(/\s+/),
);
const IMPURE_MEMBERS = /^(random|localeCompare|toLocale\w+)$/;

function isImpure(node: AnyNode): boolean {
  if (node.type === 'AwaitExpression') return true;
  if ('async' in node && node.async === true) return true;
  if (node.type === 'MemberExpression') {
    const { object, property } = node;
    const isMath = object.type === 'Identifier' && object.name === 'Math';
    const name = property.type === 'Identifier' ? property.name : '';
    return IMPURE_MEMBERS.test(name) && (isMath || name !== 'random');
  }
  return node.type === 'Identifier' && IMPURE_NAMES.has(node.name);
}
