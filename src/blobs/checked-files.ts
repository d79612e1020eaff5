/**
 * Files whose bytes this life of the node has hashed a while ago at most, as they were then: the same
 * file, as long, written to at the same time. Hashing a file once more for each job that is given it
 * would cost more than the copy.
 */
import { stat } from 'node:fs/promises';

const FRESH_MS = 3_600_000;
const MAX_FILES = 10_000;

interface Looks {
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
}

export class CheckedFiles {
  /** By path, the one that was hashed longest ago first. */
  private readonly files = new Map<string, { looks: Looks; readonly at: number }>();

  /** It was just hashed. Rejects when it is not there. */
  async add(path: string): Promise<void> {
    const looks = await looksOf(path);
    this.files.delete(path);
    this.files.set(path, { looks, at: performance.now() });
    const [oldest = ''] = this.files.keys();
    if (this.files.size > MAX_FILES) this.files.delete(oldest);
  }

  /** Rejects when it is not there. */
  async has(path: string): Promise<boolean> {
    const known = this.files.get(path);
    if (!known) return false;
    const looks = await looksOf(path);
    const isFresh = performance.now() - known.at < FRESH_MS;
    return isFresh && areEqual(known.looks, looks);
  }

  /** Around what changes the time of its last change and nothing else. Rejects never. */
  async keep(path: string, touch: () => Promise<void>): Promise<void> {
    const known = (await this.has(path).catch(() => false)) ? this.files.get(path) : undefined;
    await touch();
    if (known) known.looks = await looksOf(path).catch(() => known.looks);
  }
}

const looksOf = (path: string): Promise<Looks> => stat(path, { bigint: true });

const areEqual = (a: Looks, b: Looks): boolean =>
  a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs;
