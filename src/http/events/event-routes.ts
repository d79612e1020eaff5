/** The paths that answer with server-sent events. */

import { PATHS } from '../../api/api.ts';
import { EVENT_STREAM_TYPE } from '../../api/event-json.ts';
import type { OutputStream } from '../../core/calls.ts';
import { parseJobId, Query } from '../json-request.ts';
import type { Asked, Route, RouteParts } from '../route.ts';
import { parsePosition, START } from './event-text.ts';

const STREAMS = {
  both: ['stdout', 'stderr'],
  stdout: ['stdout'],
  stderr: ['stderr'],
  none: [],
} as const satisfies Record<string, readonly OutputStream[]>;

export function eventRoutes(parts: RouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: PATHS.events,
      role: 'read',
      handle: (asked) => followMesh(asked, parts),
    },
    {
      method: 'GET',
      path: PATHS.jobEvents,
      role: 'read',
      handle: (asked) => followJob(asked, parts),
    },
  ];
}

async function followJob(asked: Asked, parts: RouteParts): Promise<Response> {
  const { incoming, outgoing } = asked;
  const job = parseJobId(asked.id);
  const query = new Query(asked.url, ['after', 'stream']);
  // Browsers send the header when they go on, with the address as it was given at first.
  const sent = incoming.headers['last-event-id'];
  const place = (typeof sent === 'string' && sent) || query.text('after');
  const after = place ? parsePosition(place) : START;
  const streams = STREAMS[query.choice('stream', ['both', 'stdout', 'stderr', 'none'])];
  const onCut = (): void => void outgoing.destroy();
  const signal = parts.followers.hold(outgoing);
  const body = await parts.feeds.follow({ job, after, streams, signal, onCut });
  return answer(asked, parts, body);
}

function followMesh(asked: Asked, parts: RouteParts): Response {
  new Query(asked.url, []);
  const { outgoing } = asked;
  const signal = parts.followers.hold(outgoing);
  return answer(
    asked,
    parts,
    parts.meshFeed.listen(signal, () => void outgoing.destroy()),
  );
}

function answer(asked: Asked, { answers }: RouteParts, body: ReadableStream<Uint8Array>): Response {
  const isHead = asked.incoming.method === 'HEAD';
  return answers.bytes(isHead ? null : body, { 'Content-Type': EVENT_STREAM_TYPE });
}
