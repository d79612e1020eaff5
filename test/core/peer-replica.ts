/**
 * A peer's disk and its vote: the real acceptor, with a disk that never fails. What it is told
 * about records it answers as a node would; it never leads anything itself.
 */
import type { Birth, BootId, JobId, NodeId } from '../../src/base/ids.ts';
import type { Now } from '../../src/base/instant.ts';
import { seededRandom } from '../../src/base/random.ts';
import type { JobRecord } from '../../src/core/job-record.ts';
import type { Message } from '../../src/core/messages.ts';
import { Outgoing } from '../../src/core/outgoing.ts';
import { type Kept, Replicas } from '../../src/core/replicas.ts';

type Heard = 'accept' | 'prepare' | 'settled' | 'retire' | 'clash' | 'birthLost';
type ToReplica = Extract<Message, { kind: Heard }>;

export class PeerReplica {
  /** Hears nothing and says nothing: what is sent to it must be claimed. */
  isSilent = false;
  readonly disk = new Map<JobId, JobRecord>();
  private readonly out: Outgoing;
  private readonly replicas: Replicas;

  constructor(node: NodeId, boot: BootId, now: Now) {
    this.out = new Outgoing({ node, boot, random: seededRandom(1), now });
    const parts = {
      out: this.out,
      onDeposed: () => {},
      onForeign: () => {},
      isWanted: () => false,
      isLostBirth: () => false,
    };
    this.replicas = new Replicas(parts);
  }

  get(job: JobId): Kept | undefined {
    return this.replicas.get(job);
  }

  /** What it answers to whoever spoke. */
  hear(from: NodeId, message: ToReplica, now: Now): Message[] {
    this.out.now = now;
    if (message.kind === 'accept') this.replicas.onAccept(from, message);
    else if (message.kind === 'prepare') this.replicas.onPrepare(from, message);
    else if (message.kind === 'settled') this.replicas.onSettled(message);
    else if (message.kind === 'retire') this.replicas.onRetire(from, message);
    else if (message.kind === 'birthLost') this.onBirthLost(message.job, message.birth);
    else this.onClash(message.record);
    return this.answers();
  }

  /** The lower birth is the job; it never tells what it keeps itself. */
  private onClash({ header: { job, birth } }: JobRecord): void {
    const own = this.replicas.get(job)?.record?.header.birth;
    if (own !== undefined && birth < own) this.replicas.drop(job, false);
  }

  private onBirthLost(job: JobId, birth: Birth): void {
    if (this.replicas.get(job)?.record?.header.birth === birth) this.replicas.drop(job, false);
  }

  private answers(): Message[] {
    const answers: Message[] = [];
    for (;;) {
      const effects = this.out.takeEffects();
      if (effects.length === 0) return answers;
      for (const effect of effects) {
        if (effect.kind === 'load') this.replicas.onStored(effect.job, this.disk.get(effect.job));
        else if (effect.kind === 'send') answers.push(effect.message);
        else if (effect.kind === 'persist') {
          const { write } = effect;
          if (write.kind === 'record') this.disk.set(write.header.job, write);
          if (write.kind === 'dropped') this.disk.delete(write.job);
          this.replicas.onCommitted(write);
        }
      }
    }
  }
}

export const isForReplica = (message: Message): message is ToReplica =>
  message.kind === 'accept' ||
  message.kind === 'prepare' ||
  message.kind === 'settled' ||
  message.kind === 'retire' ||
  message.kind === 'clash' ||
  message.kind === 'birthLost';
