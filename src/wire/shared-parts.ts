/**
 * Parts that are equal in thousands of records are one object in memory, wherever the records were
 * read: half of what a waiting job would take otherwise. Nobody may change them, as nobody may
 * change a record.
 */
import type { BootId, NodeId } from '../base/ids.ts';
import { Interned } from '../base/interned.ts';
import type { Accepted, Epoch } from '../core/record.ts';
import { SpecParts } from '../core/spec-parts.ts';

export const specParts = new SpecParts();
const epochs = new Interned<Epoch>();
const values = new Interned<Accepted>();
const boots = new Interned<BootId>();
const nodeLists = new Interned<readonly NodeId[]>();

export const sharedEpoch = (counter: number, node: NodeId): Epoch =>
  epochs.get(`${counter} ${node}`, () => ({ counter, node: specParts.shareText(node) }));

export const sharedAccepted = (epoch: Epoch, version: number): Accepted =>
  values.get(`${version} ${epoch.counter} ${epoch.node}`, () => ({ epoch, version }));

export const sharedBoot = (counter: number, salt: string): BootId =>
  boots.get(`${counter} ${salt}`, () => ({ counter, salt }));

export const sharedNodes = (nodes: readonly NodeId[]): readonly NodeId[] =>
  nodeLists.get(nodes.join(' '), () => nodes);
