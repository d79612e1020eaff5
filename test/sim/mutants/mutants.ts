/**
 * The core with one rule broken at a time. A rule that can be broken without any seed noticing is
 * not tested, whatever else passes. Each mutant is an edit of one place of the source; a test of
 * its own sees to it that the place is still there.
 */
export interface Mutant {
  /** The rule, as what happens without it. */
  readonly name: string;
  /** Below src/core. */
  readonly file: string;
  /** Exactly one place of the file. */
  readonly from: string;
  readonly to: string;
}

export const MUTANTS: readonly Mutant[] = [
  // ------------------------------------------------------------ the register
  {
    name: 'a replica takes values below its promise',
    file: 'replicas.ts',
    from: 'else if (kept && compareEpochs(accepted.epoch, kept.promised) < 0)',
    to: 'else if (kept && accepted.version < 0)',
  },
  {
    name: 'a promise is not written down',
    file: 'replicas.ts',
    from: "out.persist({ kind: 'promise', job, epoch });",
    to: '',
  },
  {
    name: 'one replica is enough',
    file: 'quorum.ts',
    from: 'if (left.filter(hasYes).length >= majorityOf(left)) return true;',
    to: 'if (left.some(hasYes)) return true;',
  },
  {
    name: 'the old set is not asked while a set changes',
    file: 'quorum.ts',
    from: 'return bases.length > 0 && bases.every((base) => isQuorum(base, hasYes, rights));',
    to: 'return bases.slice(0, 1).every((base) => isQuorum(base, hasYes, rights));',
  },
  {
    name: 'an old epoch is resumed',
    file: 'takeover.ts',
    from: 'this.counters.get(job) ?? 0) + 1;',
    to: 'this.counters.get(job) ?? 0);',
  },
  {
    name: 'a new owner takes the lowest value that it finds',
    file: 'quorum.ts',
    from: 'compareValues(best.header.accepted, record.header.accepted) >= 0 ? best',
    to: 'compareValues(best.header.accepted, record.header.accepted) <= 0 ? best',
  },
  {
    name: 'a client is told one disk more than there is',
    file: 'ownership.ts',
    from: "kind: 'submitted', record, isRepeat: i > 0, disks });",
    to: "kind: 'submitted', record, isRepeat: i > 0, disks: disks + 1 });",
  },
  {
    name: 'an outcome is acknowledged before it is decided',
    file: 'assignments.ts',
    from: 'ownership.propose(owned, verdict.job, () => {\n      acknowledge();',
    to: 'acknowledge();\n    ownership.propose(owned, verdict.job, () => {',
  },
  // ------------------------------------------------------------ pairs
  {
    name: 'one of a pair follows the other on silence',
    file: 'records.ts',
    from: 'mayFollowAlone: (owner) => membership().isKnownGone(owner)',
    to: 'mayFollowAlone: () => true',
  },
  {
    name: 'one of a pair follows the other on a clean ping of long ago',
    file: 'membership.ts',
    from: 'return member.stateSince - member.cleanPingAt <= CLEAN_PING_MS;',
    to: 'return true;',
  },
  {
    name: 'what is decided alone is not marked',
    file: 'register.ts',
    from: "this.mark(job, peer);\n      this.parts.out.persist({ kind: 'marked', job, lacking: peer });",
    to: "this.parts.out.persist({ kind: 'marked', job, lacking: peer });",
  },
  // ------------------------------------------------------------ leases
  {
    name: 'a revoked attempt is not waited for',
    file: 'assignments.ts',
    from: 'until: asMono(lastYes + REVOKE_WAIT_MS)',
    to: 'until: asMono(0)',
  },
  {
    name: 'a new owner does not wait for leases that others gave',
    file: 'assignments.ts',
    from: 'const until = asMono(Math.max(answerAt, owned.youngestYes + REVOKE_WAIT_MS));',
    to: 'const until = answerAt;',
  },
  {
    name: 'an owner grants without evidence that it still leads',
    file: 'assignments.ts',
    from: 'const isFresh = mono - evidenceAt < LEASE_MS / 2 &&',
    to: 'const isFresh =',
  },
  {
    name: 'one yes prolongs a lease',
    file: 'quorum.ts',
    from: 'left.filter(hasYes).length >= majorityOf(left),',
    to: 'left.some(hasYes),',
  },
  {
    name: 'an attempt runs on when its lease is over',
    file: 'held-lease.ts',
    from: 'if (until <= this.until) return false;\n    this.until = until;',
    to: 'this.until = afterMono(until, 20 * LEASE_MS);',
  },
  // ------------------------------------------------------------ executions and outcomes
  {
    name: 'a used fence is started again',
    file: 'execution.ts',
    from: 'if (this.outbox.repeat(key) || this.outbox.isUsed(key)) return;\n    const claim = this.slots.take(grant.nonce, from, grant.job);',
    to: 'const claim = this.slots.take(grant.nonce, from, grant.job) ?? { sentAt: out.now.mono };',
  },
  {
    name: 'an outcome is told before it is on disk',
    file: 'outbox.ts',
    from: "this.out.persist({ kind: 'outcome', ...row });",
    to: '',
  },
  {
    name: 'more attempts than slots',
    file: 'execution.ts',
    from: 'return load.running + load.claimed < load.slots ? undefined',
    to: 'return load.running + load.claimed <= load.slots ? undefined',
  },
  {
    name: 'an outcome beats a decided cancel',
    file: 'outcome.ts',
    from: 'if (state.cancelAt !== undefined) return final(job, cancelledFinal(at, outcome));',
    to: '',
  },
  {
    name: 'a new owner runs a final job again',
    file: 'ownership.ts',
    from: 'this.write(owned, header, found.job, { act: () => then(owned), hasPairRight });',
    to: "const again = { ...found.job, state: { tag: 'pending' } } as const;\n    this.write(owned, header, found.job.state.tag === 'final' ? again : found.job, { act: () => then(owned), hasPairRight });",
  },
  {
    name: 'an at-most-once job is run again',
    file: 'outcome.ts',
    from: "const isOnlyOnce = hasRun && job.spec.delivery === 'at_most_once';",
    to: 'const isOnlyOnce = false;',
  },
  {
    name: 'an at-most-once job starts before its assignment is decided',
    file: 'assignments.ts',
    from: "&& job.spec.delivery === 'at_least_once';",
    to: ';',
  },
  // ------------------------------------------------------------ members
  {
    name: 'whoever is silent for a moment is dead',
    file: 'membership.ts',
    from: 'export const DEAD_AFTER_MS = 4000;',
    to: 'export const DEAD_AFTER_MS = 0;',
  },
];
