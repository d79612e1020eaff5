/** Handlers that do what handlers may do to a node. */
import { execFile, spawn } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import * as z from 'zod';
import { defineTask } from '../../../src/index.ts';

export const add = defineTask({
  name: 'add',
  schema: z.object({ a: z.number(), b: z.number().default(1) }),
  run: (ctx, { a, b }) => {
    ctx.log('adding', { a, b });
    console.error('on stderr');
    ctx.progress(50, 'half');
    return { sum: a + b, job: ctx.job, attempt: ctx.attempt, fence: ctx.fence, pid: process.pid };
  },
});

export const surroundings = defineTask({
  name: 'surroundings',
  run: async (ctx) => {
    await ctx.files.write('made/here.txt', 'text');
    return {
      folder: ctx.folder,
      cwd: process.cwd(),
      env: process.env,
      read: Buffer.from(await ctx.files.read('made/here.txt')).toString(),
    };
  },
});

export const leaves = defineTask({
  name: 'leaves',
  run: () => {
    const found = readdirSync('.');
    writeFileSync('left', 'text');
    return { found, cwd: process.cwd(), pid: process.pid };
  },
});

export const nothing = defineTask({ name: 'nothing', run: () => undefined });
export const huge = defineTask({ name: 'huge', run: () => 'x'.repeat(64 * 1024) });
export const circle = defineTask({
  name: 'circle',
  run: () => {
    const self: { self?: unknown } = {};
    self.self = self;
    return self;
  },
});
export const throws = defineTask({
  name: 'throws',
  run: () => {
    throw new RangeError('out of reach');
  },
});
export const exits = defineTask({ name: 'exits', run: () => process.exit(0) });
export const rejects = defineTask({
  name: 'rejects',
  run: async () => {
    void Promise.reject(new Error('nobody waits for me'));
    await delay(60_000);
  },
});
export const segfaults = defineTask({
  name: 'segfaults',
  run: () => process.kill(process.pid, 'SIGSEGV'),
});
export const loops = defineTask({
  name: 'loops',
  run: (ctx) => {
    ctx.log(process.pid);
    for (;;);
  },
});
export const heap = defineTask({
  name: 'heap',
  run: () => {
    const kept: unknown[] = [];
    for (;;) kept.push({ kept: kept.length });
  },
});
export const buffers = defineTask({
  name: 'buffers',
  run: async () => {
    const kept: Buffer[] = [];
    for (let i = 0; i < 200; i++) {
      kept.push(Buffer.alloc(10 * 1024 ** 2, 1));
      await delay(1);
    }
    await delay(60_000);
    return kept.length;
  },
});
export const waits = defineTask({
  name: 'waits',
  run: async (ctx) => {
    ctx.log(process.pid);
    await delay(60_000, undefined, { signal: ctx.signal });
  },
});
export const tidies = defineTask({
  name: 'tidies',
  run: async (ctx) => {
    ctx.log('begun');
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    ctx.log('tidied');
  },
});
export const children = defineTask({
  name: 'children',
  run: async (ctx) => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' });
    const printed = spawn('echo', ['from a child'], { stdio: 'inherit' });
    await new Promise((resolve) => printed.once('close', resolve));
    ctx.log(child.pid);
  },
});
export const pages = defineTask({
  name: 'pages',
  run: async (ctx) => {
    for (let i = 1; i <= 100; i++) ctx.progress(i, `page ${i}`);
    writeFileSync('file', 'x');
    await new Promise((resolve) => execFile('true', resolve));
    return 'done';
  },
});
export const floods = defineTask({
  name: 'floods',
  run: (ctx) => {
    for (let i = 0; i < 300_000; i++) ctx.progress(i / 3000, `step ${i}`);
  },
});
export const shouts = defineTask({
  name: 'shouts',
  run: async () => {
    const child = spawn('sh', ['-c', 'yes | head -c 20000000'], { stdio: 'inherit' });
    await new Promise((resolve) => child.once('close', resolve));
  },
});
