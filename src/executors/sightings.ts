/**
 * Which task types this machine has, looked at again and again: an engine is installed or ends, a
 * file of handlers is changed. Types that were asked for by name and are absent are named as a
 * problem once; the others are just not advertised.
 */
import type { Offers } from '../core/facts.ts';
import type { Sighting, TaskType } from './task-type.ts';

const LOOK_INTERVAL_MS = 60_000;

export interface SightingParts {
  readonly types: readonly TaskType[];
  /** Those that are there for now, whatever is wanted. */
  readonly added?: () => readonly TaskType[];
  /** By name; undefined: all that are there. */
  readonly wanted: readonly string[] | undefined;
  /** What the operator says this node has. */
  readonly capabilities: Readonly<Record<string, string>>;
  /** What is found on the machine besides; not waited for. Never rejects. */
  readonly find?: (() => Promise<Readonly<Record<string, string>>>) | undefined;
  readonly onProblem: (sentence: string) => void;
}

export class Sightings {
  private readonly parts: SightingParts;
  private readonly seen = new Map<string, Sighting>();
  private readonly types: readonly TaskType[];
  private timer: NodeJS.Timeout | undefined;
  /** Undefined: not started, or stopped. */
  private onChange: ((offers: Offers) => void) | undefined;
  private told = '';
  private found: Readonly<Record<string, string>> = {};

  constructor(parts: SightingParts) {
    this.parts = parts;
    const { types, wanted } = parts;
    this.types = types.filter(({ name }) => wanted === undefined || wanted.includes(name));
  }

  /**
   * Settles after the first look at all types but the slow ones; `onChange` is called with it and
   * whenever anything differs.
   */
  async start(onChange: (offers: Offers) => void): Promise<void> {
    this.onChange = onChange;
    const types = this.all();
    await this.lookAt(types.filter(({ looksSlowly }) => !looksSlowly));
    void this.lookAt(types.filter(({ looksSlowly }) => looksSlowly));
    void this.parts.find?.().then((found) => {
      this.found = found;
      this.tell();
    });
    this.timer = setInterval(() => void this.lookAgain(), LOOK_INTERVAL_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.onChange = undefined;
  }

  /** Something told that a type has come, gone or changed. */
  async lookAgain(): Promise<void> {
    await this.lookAt(this.all());
  }

  private async lookAt(types: readonly TaskType[]): Promise<void> {
    if (!this.onChange) return;
    await Promise.all(types.map(async (type) => this.note(type.name, await sightingOf(type))));
    this.tell();
  }

  private tell(): void {
    const offers = this.offers();
    const text = JSON.stringify(offers);
    if (text === this.told) return;
    this.told = text;
    this.onChange?.(offers);
  }

  private all(): readonly TaskType[] {
    return [...this.types, ...(this.parts.added?.() ?? [])];
  }

  private note(name: string, sighting: Sighting): void {
    const before = this.seen.get(name);
    this.seen.set(name, sighting);
    const isWanted = this.parts.wanted?.includes(name) === true;
    if (sighting.tag === 'absent' && before?.tag !== 'absent' && isWanted) {
      this.parts.onProblem(`The task type ${name} cannot be run here: ${sighting.reason}`);
    }
  }

  /** Undefined: it is there, or was never looked for. */
  whyAbsent(name: string): string | undefined {
    const sighting = this.seen.get(name);
    return sighting?.tag === 'absent' ? sighting.reason : undefined;
  }

  private offers(): Offers {
    const present = this.all().flatMap(({ name }) => {
      const sighting = this.seen.get(name);
      return sighting?.tag === 'present' ? [{ name, ...sighting }] : [];
    });
    const versions = present.flatMap(({ name, version }) =>
      version === undefined ? [] : [[name, version] as const],
    );
    const found = present.map(({ capabilities }) => capabilities ?? {});
    return {
      taskTypes: present.map(({ name }) => name).sort(),
      typeVersions: Object.fromEntries(versions),
      // The operator's word is the last.
      capabilities: Object.assign({}, this.found, ...found, this.parts.capabilities),
    };
  }
}

const sightingOf = async ({ look }: TaskType): Promise<Sighting> =>
  look ? look() : { tag: 'present' };
