/**
 * A file on its way from other nodes to this one's disk, for all who want it here. It comes in
 * pieces, several of them asked for at once, and never as a whole through memory. A link that
 * breaks costs what was in flight: the next piece is asked for where the last one ended, of
 * whichever node has the file. At the end the whole is checked by its name. What is wrong then is
 * thrown away; a node whose bytes alone made it is not asked again.
 *
 * Who reads while it comes gets what is there but the last byte, which follows the check: so a
 * reading that is over was of the right file.
 */
import { MeshError } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { BlobChunk } from '../core/calls.ts';
import type { Blobs, BlobWriter, Links } from './ports.ts';

export interface FetchParts {
  readonly blobs: Blobs;
  readonly links: Pick<Links, 'call'>;
  readonly linked: () => readonly NodeId[];
  /** Members that may have it and cannot be asked now. */
  readonly unlinked: () => readonly NodeId[];
  /** How long nothing may come before it is given up. */
  readonly patienceMs: number;
  /** Settles when it may begin, with the way to say that it is over. */
  readonly turn: () => Promise<() => void>;
}

/** An answer has a little more than its bytes, and goes in one part of 256 KiB. */
const PIECE_BYTES = 255 * 1024;
const MAX_IN_FLIGHT = 16;
const LOOK_DEADLINE_MS = 3000;
const PIECE_DEADLINE_MS = 10_000;
const LOOK_AGAIN_MS = 500;
/** That came last, for readers who are nearly as fast: what they get need not be read from the disk. */
const PIECES_AT_HAND = 8;

interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

interface Source {
  readonly node: NodeId;
  readonly totalBytes: number;
}

export class BlobFetch {
  readonly sha256: string;
  /** Settles when the file is here; rejects with why it cannot be had. */
  readonly over: Promise<void>;
  private readonly parts: FetchParts;
  private readonly hints: Set<NodeId>;
  private readonly stopping = new AbortController();
  private readonly damaged = new Set<NodeId>();
  private readonly waiting = new Set<() => void>();
  /** Whose bytes make up what is here. */
  private givers = new Set<NodeId | 'earlier'>();
  private writer: BlobWriter | undefined;
  private atHand: Piece[] = [];
  private total: number | undefined;
  private isWhole = false;
  /** Rises when what came is thrown away. */
  private trial = 0;
  private movedAt = performance.now();

  constructor(sha256: string, hints: readonly NodeId[], parts: FetchParts) {
    this.sha256 = sha256;
    this.parts = parts;
    this.hints = new Set(hints);
    this.over = this.run();
    this.over.catch(() => {});
  }

  /** These nodes are asked first. */
  hint(nodes: readonly NodeId[]): void {
    for (const node of nodes) this.hints.add(node);
  }

  /** Nobody wants it any more; what has come stays for the next time. */
  stop(): void {
    this.stopping.abort();
    this.wake();
  }

  // -------------------------------------------------------------- readers

  /** Settles when the length is known. Rejects like `over`. */
  async length(): Promise<number> {
    while (this.total === undefined) await this.change();
    return this.total;
  }

  /** A number that every piece of one reading must have in common. */
  get reading(): number {
    return this.trial;
  }

  /** At least a byte, unless `offset` is at the end. Waits for it. Rejects like `over`. */
  async read(offset: number, maxBytes: number): Promise<Uint8Array> {
    const total = await this.length();
    while (!this.isWhole && Math.min(this.writer?.offset ?? 0, total - 1) <= offset && total > 0)
      await this.change();
    if (this.isWhole || !this.writer) {
      const chunk = await this.parts.blobs.read(this.sha256, { offset, maxBytes });
      return chunk?.bytes ?? new Uint8Array(0);
    }
    const here = Math.min(this.writer.offset, total - 1);
    const wanted = Math.min(maxBytes, here - offset);
    return this.fromHand(offset, wanted) ?? this.writer.read(offset, wanted);
  }

  private fromHand(offset: number, maxBytes: number): Uint8Array | undefined {
    const piece = this.atHand.find(
      (each) => each.offset <= offset && offset < each.offset + each.bytes.length,
    );
    const from = offset - (piece?.offset ?? 0);
    return piece?.bytes.subarray(from, from + maxBytes);
  }

  private async change(): Promise<void> {
    const moved = new Promise<void>((resolve) => this.waiting.add(resolve));
    await Promise.race([moved, this.over]);
  }

  private wake(): void {
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const resolve of waiting) resolve();
  }

  // -------------------------------------------------------------- fetching

  private async run(): Promise<void> {
    const end = await this.parts.turn();
    try {
      this.movedAt = performance.now();
      while (!(await this.tryAll())) await this.pause();
      this.isWhole = true;
    } finally {
      await this.writer?.leave();
      this.writer = undefined;
      this.atHand = [];
      end();
      this.wake();
    }
  }

  /** Everybody who has it, one after the other. @throws MeshError when it is not to be had */
  private async tryAll(): Promise<boolean> {
    const { sources, silent } = await this.look();
    for (const source of sources) if (await this.pull(source)) return true;
    this.stopping.signal.throwIfAborted();
    const isPossible = sources.length > 0 || silent > 0;
    if (isPossible && performance.now() - this.movedAt < this.parts.patienceMs) return false;
    throw this.notHad(silent + sources.length);
  }

  private notHad(silent: number): MeshError {
    if (silent > 0) {
      const sentence = `The file ${this.sha256} is at no node that answers; ${silent} did not. Try again when they are back.`;
      return new MeshError('NOT_KNOWABLE', sentence);
    }
    const why = this.damaged.size > 0 ? ', and what some have of it is damaged' : '';
    const sentence = `No node of the mesh has the file ${this.sha256}${why}. Upload it again.`;
    return new MeshError('BLOB_NOT_FOUND', sentence);
  }

  /** Who has it: those that should, else anybody. */
  private async look(): Promise<{ sources: Source[]; silent: number }> {
    const linked = this.parts.linked().filter((node) => !this.damaged.has(node));
    // Now: who comes back while the others are asked has not been asked.
    const away = this.parts.unlinked().length;
    const likely = linked.filter((node) => this.hints.has(node));
    const first = await this.askWho(likely);
    if (first.sources.length > 0) return first;
    const rest = await this.askWho(linked.filter((node) => !this.hints.has(node)));
    return { sources: rest.sources, silent: first.silent + rest.silent + away };
  }

  private async askWho(nodes: readonly NodeId[]): Promise<{ sources: Source[]; silent: number }> {
    const sources: Source[] = [];
    let silent = 0;
    const asked = nodes.map(async (node) => {
      try {
        const found = await this.ask(node, { offset: 0, maxBytes: 0 }, LOOK_DEADLINE_MS);
        if (found) sources.push({ node, totalBytes: found.totalBytes });
      } catch {
        // It may have it and cannot say so now.
        silent += 1;
      }
    });
    await Promise.all(asked);
    return { sources, silent };
  }

  private async ask(
    node: NodeId,
    range: { offset: number; maxBytes: number },
    deadlineMs: number,
    signal: AbortSignal = this.stopping.signal,
  ): Promise<BlobChunk | undefined> {
    const call = { kind: 'readBlob', sha256: this.sha256, ...range } as const;
    const answer = await this.parts.links.call(node, call, { deadlineMs, signal });
    return answer.kind === 'blob' ? answer.chunk : undefined;
  }

  /** False: its link broke, or it had not the right file. @throws MeshError of this node's disk */
  private async pull({ node, totalBytes }: Source): Promise<boolean> {
    const writer = await this.writerFor(totalBytes);
    if (writer.offset < totalBytes) this.givers.add(node);
    if (!(await this.pour(node, writer, totalBytes))) return false;
    try {
      this.writer = undefined;
      await writer.finish();
      return true;
    } catch (thrown) {
      if (!(thrown instanceof MeshError) || thrown.code !== 'BLOB_MISMATCH') throw thrown;
      const isFromOne = this.givers.size === 1 && this.givers.has(node);
      if (isFromOne) this.damaged.add(node);
      this.beginAnew();
      // Of several givers nobody knows which one was wrong: this one alone is tried at once.
      return isFromOne ? false : this.pull({ node, totalBytes });
    }
  }

  private async writerFor(totalBytes: number): Promise<BlobWriter> {
    if (this.writer && this.total !== totalBytes) {
      await this.writer.discard();
      this.beginAnew();
    }
    this.total = totalBytes;
    if (!this.writer) {
      this.writer = await this.parts.blobs.write(this.sha256, totalBytes);
      if (this.writer.offset > 0) this.givers.add('earlier');
    }
    this.wake();
    return this.writer;
  }

  private beginAnew(): void {
    this.writer = undefined;
    this.atHand = [];
    this.givers = new Set();
    this.trial += 1;
  }

  /** Pieces in their order, the next ones asked for before the last has come. */
  private async pour(node: NodeId, writer: BlobWriter, totalBytes: number): Promise<boolean> {
    const ends = new AbortController();
    const signal = AbortSignal.any([ends.signal, this.stopping.signal]);
    const coming: Promise<BlobChunk | undefined>[] = [];
    let next = writer.offset;
    try {
      while (writer.offset < totalBytes) {
        while (coming.length < MAX_IN_FLIGHT && next < totalBytes) {
          const maxBytes = Math.min(PIECE_BYTES, totalBytes - next);
          const piece = this.ask(node, { offset: next, maxBytes }, PIECE_DEADLINE_MS, signal);
          piece.catch(() => {});
          coming.push(piece);
          next += maxBytes;
        }
        const wanted = Math.min(PIECE_BYTES, totalBytes - writer.offset);
        const chunk = await coming.shift()?.catch(() => undefined);
        // Gone, cut shorter than it said, or the link broke: what has come is kept.
        if (chunk?.bytes.length !== wanted) return false;
        const offset = writer.offset;
        await writer.append(chunk.bytes);
        this.hold({ offset, bytes: chunk.bytes });
        this.movedAt = performance.now();
        this.wake();
      }
      return true;
    } finally {
      ends.abort();
    }
  }

  private hold(piece: Piece): void {
    this.atHand.push(piece);
    if (this.atHand.length > PIECES_AT_HAND) this.atHand.shift();
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LOOK_AGAIN_MS);
      const stop = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.stopping.signal.addEventListener('abort', stop, { once: true });
    });
  }
}
