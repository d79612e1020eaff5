/**
 * The log of a node: pino, readable on a terminal and JSON lines elsewhere. Messages are fixed and
 * lower-case, what varies is in fields named as in the code; warn is what heals by itself, error is
 * what a person must look at.
 */
import { type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { unreachable } from './base/unreachable.ts';
import type { MeshEvent } from './core/effects.ts';
import { endText, isFinal } from './core/outcome.ts';
import { fenceText } from './core/record.ts';

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;

export interface LogOptions {
  readonly level: string;
  readonly format: 'auto' | 'pretty' | 'json';
  readonly node: string;
}

/** Writes to stderr: stdout belongs to what was asked for. */
export function createLog({ level, format, node }: LogOptions): Log {
  const isPretty = format === 'pretty' || (format === 'auto' && process.stderr.isTTY);
  const base = { level, base: { node }, timestamp: pino.stdTimeFunctions.isoTime };
  // pino-pretty as a stream, not as a transport: that would be a thread and 14 MB.
  if (!isPretty) return pino(base, pino.destination({ fd: 2, sync: true }));
  const render = prettyFactory({
    colorize: process.stderr.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'node,name,pid',
    messageFormat: (line, key) => titleOf(String(line[key]), line.name),
    singleLine: true,
  });
  // A terminal that was closed takes no more lines, while the node still leaves in order.
  process.stderr.on('error', () => undefined);
  const stream = { write: (line: string) => void process.stderr.write(render(line) ?? line) };
  return pino(base, stream);
}

/** pino-pretty takes a `name` for the logger's own; here it is a peer's, so it follows the message. */
function titleOf(message: string, name: unknown): string {
  return typeof name === 'string' ? `${message}: ${name.replace(/\p{Cc}/gu, '·')}` : message;
}

/** What happened in the mesh, as log lines. */
export function logEvent(log: Log, event: MeshEvent): void {
  switch (event.kind) {
    case 'jobChanged':
      if (isFinal(event.status))
        log.info(
          { job: event.job, status: event.status, reason: event.note || undefined },
          'job ended',
        );
      else log.debug({ job: event.job, status: event.status }, 'job changed');
      return;
    case 'memberChanged':
      if (event.state === 'alive')
        log.info({ peer: event.node, name: event.name, reason: event.reason }, 'peer is alive');
      else if (event.state === 'left')
        log.info({ peer: event.node, name: event.name, reason: event.reason }, 'peer has left');
      else
        log.warn(
          { peer: event.node, name: event.name, state: event.state, reason: event.reason },
          'peer is not alive',
        );
      return;
    // For followers.
    case 'attemptProgressed':
      return;
    case 'attemptStarted':
      log.debug({ job: event.job, fence: fenceText(event.fence) }, 'attempt started');
      return;
    case 'attemptEnded':
      log.debug(
        { job: event.job, fence: fenceText(event.outcome.fence), end: endText(event.outcome.end) },
        'attempt ended',
      );
      return;
    case 'anomaly':
      log.error({ peer: event.node }, event.note);
      return;
    case 'conflictFound':
      log.warn({ job: event.conflict.job }, `conflict: ${event.conflict.note}`);
      return;
    case 'banned':
      log.error({ peer: event.by }, 'the mesh has forgotten this node');
      return;
    case 'stalled':
      log.warn({ lateMs: event.lateMs }, 'event loop stood still');
      return;
    default:
      unreachable(event);
  }
}
