import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { buildSync } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '../..');
const BANNER = "import{createRequire as cr}from'node:module';const require=cr(import.meta.url);";

/** A program of two parts that share the wire, as the bundle of a node is. */
const CHECK = `
import assert from 'node:assert/strict';
import { encodeJob, parseJob } from '${ROOT}/src/wire/jobs.ts';
import { encodeOutcome, parseOutcome } from '${ROOT}/src/wire/outcomes.ts';
import { JOBS, OUTCOMES } from '${ROOT}/test/wire/samples.ts';
for (const job of JOBS) assert.deepEqual(parseJob(encodeJob(job)), job);
for (const outcome of OUTCOMES) assert.deepEqual(parseOutcome(encodeOutcome(outcome)), outcome);
`;
const MAIN = `import './check.ts'; const { encodeMessages } = await import('${ROOT}/src/wire/wire.ts');
console.log(encodeMessages([]).oversized);`;

describe('the bundle', () => {
  for (const minify of [false, true]) {
    test(`reads numbers as plain ones, ${minify ? 'minified' : 'as it is'}`, (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'mesh-bundle-'));
      t.after(() => rmSync(folder, { recursive: true }));
      writeFileSync(join(folder, 'check.ts'), CHECK);
      writeFileSync(join(folder, 'main.ts'), MAIN);
      buildSync({
        entryPoints: [join(folder, 'main.ts')],
        outdir: join(folder, 'out'),
        outExtension: { '.js': '.mjs' },
        bundle: true,
        splitting: true,
        minifySyntax: minify,
        minifyWhitespace: minify,
        platform: 'node',
        format: 'esm',
        banner: { js: BANNER },
        logLevel: 'error',
      });
      const said = execFileSync(process.execPath, [join(folder, 'out', 'main.mjs')]);
      assert.equal(said.toString(), '0\n');
    });
  }
});
