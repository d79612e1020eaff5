/** What routes are made of: data, so that methods, roles and 405 answers come from one table. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Role } from '../api/api.ts';
import type { MeshService } from '../node/service.ts';
import type { Access } from './access.ts';
import type { Answers } from './answers.ts';
import type { JobFeeds } from './events/job-feeds.ts';
import type { MeshFeed } from './events/mesh-feed.ts';
import type { HeldRequests } from './held-requests.ts';
import type { JobWatch } from './job-watch.ts';
import type { HttpOptions } from './options.ts';

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly role: Role;
  readonly handle: (asked: Asked) => Response | Promise<Response>;
}

/** A request that has passed the guard, from somebody who may make it. */
export interface Asked {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** Path and query, as sent. */
  readonly url: string;
  /** The `:id` of the path, decoded; empty when the path has none. */
  readonly id: string;
  /** The `:rest` of the path, decoded; empty when the path has none. */
  readonly rest: string;
}

export interface RouteParts {
  readonly service: MeshService;
  readonly options: HttpOptions;
  readonly answers: Answers;
  readonly access: Access;
  readonly held: HeldRequests;
  readonly watch: JobWatch;
  /** Streams of events, which are many and cost little. */
  readonly followers: HeldRequests;
  readonly feeds: JobFeeds;
  readonly meshFeed: MeshFeed;
}
