/** A record on its way between nodes: the header that everybody reads, the body as bytes. */
import type { JobRecord } from '../core/job-record.ts';
import * as field from './fields.ts';
import { encodeJob, parseBody } from './jobs.ts';
import { MAX_BODY_BYTES } from './limits.ts';
import { parseHeader, toHeader } from './records.ts';
import type { mesh } from './schema.ts';

type Wire = mesh.Record.$Properties;

export const toRecord = (record: JobRecord): Wire => ({
  header: toHeader(record.header),
  body: encodeJob(record.job),
});

export function fromRecord(wire: Wire | null | undefined): JobRecord {
  const { header: fields, body } = field.required(wire);
  if (!body || body.length > MAX_BODY_BYTES) throw new field.Malformed('no body, or too large');
  const header = parseHeader(fields);
  return { header, job: field.required(parseBody(body, header)) };
}
