import type { Job } from './job.ts';
import type { RecordHeader } from './record.ts';

/** Header and body as this node's disk has them. */
export interface JobRecord {
  readonly header: RecordHeader;
  readonly job: Job;
}
