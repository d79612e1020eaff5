/**
 * A process that commits one job after the other and prints each serial number once its commit
 * has returned, until it is killed. Arguments: the data folder, the first serial number.
 */
import { writeSync } from 'node:fs';
import { asWall } from '../../src/base/instant.ts';
import { openStore } from '../../src/store/store.ts';
import { completed, fence, grant, jobId, NODE_A, record } from '../conformance/store-samples.ts';

const [folder = '', first = '0'] = process.argv.slice(2);
const { store, boot } = openStore({ folder, node: NODE_A });
writeSync(1, `boot ${boot.counter}\n`);
for (let serial = Number(first); ; serial++) {
  store.commit([
    { kind: 'record', ...record(serial) },
    { kind: 'started', job: jobId(serial), fence: fence(), grant: grant(serial), at: asWall(1) },
  ]);
  store.commit([{ kind: 'record', ...record(serial, { state: completed(), version: 2 }) }]);
  writeSync(1, `${serial}\n`);
}
