/** Nodes with files that ask each other in this process. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { MeshError } from '../../src/base/errors.ts';
import { asNodeId, type NodeId } from '../../src/base/ids.ts';
import type { Call } from '../../src/core/calls.ts';
import { MeshFiles } from '../../src/node/files.ts';
import type { Links } from '../../src/node/ports.ts';
import { newBlobs } from '../blobs/blob-folders.ts';

type Blobs = Awaited<ReturnType<typeof newBlobs>>;

export interface FileNode {
  readonly id: NodeId;
  readonly blobs: Blobs;
  readonly files: MeshFiles;
  readonly links: Pick<Links, 'call'>;
  readonly linked: () => NodeId[];
}

function untilAborted<T>(settling: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    settling.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

export class FileMesh {
  readonly nodes = new Map<NodeId, FileNode>();
  /** Without links. */
  readonly away = new Set<NodeId>();
  readonly asked: { readonly to: NodeId; readonly call: Call }[] = [];
  /** Before each question is answered; may throw. */
  onCall: (to: NodeId, call: Call) => void = () => {};

  async add(t: TestContext): Promise<FileNode> {
    const id = asNodeId(`node-${String(this.nodes.size).repeat(32)}`);
    const blobs = await newBlobs(t);
    const others = (): NodeId[] => [...this.nodes.keys()].filter((node) => node !== id);
    const links: Pick<Links, 'call'> = {
      call: async (to, call, { deadlineMs, signal }) => {
        if (this.away.has(to)) throw new MeshError('NODE_UNREACHABLE', 'cut');
        this.asked.push({ to, call });
        this.onCall(to, call);
        const other = this.nodes.get(to) ?? assert.fail();
        assert(MeshFiles.isFileCall(call));
        const late = AbortSignal.timeout(deadlineMs);
        return untilAborted(
          other.files.answer(id, call),
          signal ? AbortSignal.any([late, signal]) : late,
        );
      },
    };
    const linked = (): NodeId[] => others().filter((node) => !this.away.has(node));
    const unlinked = (): NodeId[] => others().filter((node) => this.away.has(node));
    const files = new MeshFiles({ blobs, links, linked, unlinked });
    const node = { id, blobs, files, links, linked };
    this.nodes.set(id, node);
    return node;
  }

  async three(t: TestContext): Promise<{ one: FileNode; two: FileNode; three: FileNode }> {
    return { one: await this.add(t), two: await this.add(t), three: await this.add(t) };
  }
}
