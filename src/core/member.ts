/**
 * A member: another node as this one sees it.
 *
 * | state   | entered when                                    | left when                                       |
 * |---------|-------------------------------------------------|-------------------------------------------------|
 * | alive   | its link came up; it was heard over it          | silent for 3 s, link closed, goodbye             |
 * | suspect | silent for 3 s, or its link closed              | heard over the link; 4 s more without any answer |
 * | dead    | unanswered, directly and through three others;  | its link comes up again                          |
 * |         | or the link closed and two dials were refused   |                                                  |
 * | left    | it said goodbye                                 | it comes back with another boot                  |
 *
 * No new work goes to a suspect; only a dead member's attempts are given up.
 */
import type { BootId } from '../base/ids.ts';
import type { MonoMs, WallMs } from '../base/instant.ts';
import type { Load, NodeFacts } from './facts.ts';

export type MemberState = 'alive' | 'suspect' | 'dead' | 'left';

export interface Member {
  /** The newest that it said of itself. */
  facts: NodeFacts;
  readonly boot: BootId;
  /** Of its disk, when its link came up. */
  readonly commits: number | undefined;
  /** Address of its end of the link. */
  readonly host: string;
  state: MemberState;
  stateSince: MonoMs;
  isLinked: boolean;
  load: Load;
  /** Any authenticated word from it. */
  heardAt: MonoMs;
  heardWall: WallMs;
  /** A third node's word that it lives: puts off its death, not its suspicion. */
  vouchedAt: MonoMs;
  pingedAt: MonoMs;
  probedAt: MonoMs;
  /** Dials refused in a row since the link closed. */
  refusedDials: number;
  /** Its link closed and its port refused two dials. */
  isProcessGone: boolean;
  /** Serial and time of the last ping to it. */
  pinged: { readonly serial: number; readonly at: MonoMs };
  /** When the last ping was sent that it answered without marks. */
  cleanPingAt: MonoMs;
  /** No verdict before this: the own loop had stalled, and it gets time to answer. */
  guardedUntil: MonoMs;
  /** Verdicts put off since it was last heard. */
  postponements: number;
  /** When it was told a table of members. */
  toldTableAt: MonoMs;
}

/** What others must know when a member's state changes. */
export interface MemberChange {
  readonly member: Member;
  readonly kind: 'up' | 'suspect' | 'dead' | 'left';
  /** For `up`: it is another life than the one known before. */
  readonly isReboot: boolean;
  readonly reason: string;
}
