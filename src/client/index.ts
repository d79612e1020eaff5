/**
 * The SDK: a node's REST API as typed calls. It imports only the contract in `src/api` and the
 * vocabulary in `src/base`, and asks by `fetch`, so it runs wherever that is.
 *
 * A client talks to one node, and any node answers for any job. What goes wrong is a MeshError
 * with the code of the node's problem; a node that does not answer is NODE_UNREACHABLE. Nothing is
 * repeated by itself but the reading of an output, since a submit that is sent twice without a key
 * is two jobs.
 */
export type * from '../api/event-json.ts';
export type * from '../api/job-json.ts';
export type { JobRequest } from '../api/job-request.ts';
export type * from '../api/node-json.ts';
export { type ErrorCode, MeshError } from '../base/errors.ts';
export {
  type BulkAnswer,
  type Client,
  type ClientOptions,
  createClient,
  type EventOptions,
  type JobEvent,
  type JobFilter,
  type OutputOptions,
} from './client.ts';
export { httpsFetch } from './https-fetch.ts';
export { type RunningNode, readRunningNodes } from './running-nodes.ts';
