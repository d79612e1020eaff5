import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { seededRandom } from '../../src/base/random.ts';
import { type Client, openDatabase, raiseBoot } from '../../src/store/database.ts';
import { SqliteStore } from '../../src/store/sqlite-store.ts';
import { MemoryDisk } from './memory-store.ts';
import type { StoreBench } from './store-samples.ts';
import { describeStore } from './store-suite.ts';

/** SQLite's own limit on the pages of a file stands for a full disk; a real one is in test/store. */
describeStore('a SQLite file', (t: TestContext): StoreBench => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-store-'));
  const file = join(folder, 'worker.db');
  let client: Client | undefined;
  t.after(() => {
    client?.close();
    rmSync(folder, { recursive: true });
  });
  return {
    open: () => {
      const opened = openDatabase(file);
      client = opened.client;
      const boot = raiseBoot(opened.queries);
      return { store: new SqliteStore({ ...opened, file, release: () => {} }), boot };
    },
    setFull: (isFull) => {
      const pages = isFull ? client?.pragma('page_count', { simple: true }) : 0xfffffffe;
      client?.pragma(`max_page_count = ${pages}`);
    },
  };
});

describeStore('a disk in memory', (): StoreBench => {
  const disk = new MemoryDisk((job) => /^job-.{21}$/.test(job));
  const random = seededRandom(7);
  return {
    open: () => disk.open(random),
    setFull: (isFull) => {
      disk.isFull = isFull;
    },
  };
});
