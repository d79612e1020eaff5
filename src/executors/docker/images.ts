/** Images: looked for at the engine, pulled where that was asked for. */
import { messageOf } from '../../base/errors.ts';
import { type Engine, isMissing } from './engine.ts';

export interface Image {
  readonly id: string;
  /** What its containers want to be stopped with. */
  readonly stopSignal: string;
}

export type Pull = 'missing' | 'always' | 'never';

/** Rejects with a reason, or as an abort. */
export async function findImage(
  engine: Engine,
  { name, pull, signal }: { name: string; pull: Pull; signal: AbortSignal },
): Promise<Image> {
  const known = pull === 'always' ? undefined : await inspect(engine, name, signal);
  if (known) return known;
  if (pull === 'never') {
    throw new Error(`the image ${name} is not on this node, and pull is never`);
  }
  await pullImage(engine, name, signal);
  const pulled = await inspect(engine, name, signal);
  if (pulled) return pulled;
  throw new Error(`the image ${name} was pulled and is not there`);
}

async function inspect(
  engine: Engine,
  name: string,
  signal: AbortSignal,
): Promise<Image | undefined> {
  try {
    const found = (await engine.call({ path: `/images/${name}/json`, signal })) as {
      Id: string;
      Config?: { StopSignal?: string } | null;
    };
    return { id: found.Id, stopSignal: found.Config?.StopSignal || 'SIGTERM' };
  } catch (thrown) {
    if (isMissing(thrown)) return undefined;
    throw thrown;
  }
}

/** The engine tells how far it is, line by line, and a failure as one of the lines. */
async function pullImage(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
  const { image, tag } = splitName(name);
  const query = { fromImage: image, tag };
  const answer = await engine
    .open({ method: 'POST', path: '/images/create', query, signal })
    .catch((thrown: unknown) => {
      throw notPulled(name, messageOf(thrown));
    });
  let line = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const lines = (line + chunk.toString()).split('\n');
    line = lines.pop() ?? '';
    for (const each of lines) throwIfFailed(each, name);
  }
  throwIfFailed(line, name);
}

function throwIfFailed(line: string, name: string): void {
  if (!line.includes('"error"')) return;
  const { error } = JSON.parse(line) as { error?: string };
  if (error !== undefined) throw notPulled(name, error);
}

const notPulled = (name: string, why: string): Error =>
  new Error(`the image ${name} cannot be pulled: ${why}`);

/** Without a tag the engine would pull all there are. */
export function splitName(name: string): { image: string; tag: string } {
  const [image = name, digest] = name.split('@');
  if (digest !== undefined) return { image, tag: digest };
  // A colon before the last slash is that of a registry's port.
  const at = name.lastIndexOf(':');
  if (at <= name.lastIndexOf('/')) return { image: name, tag: 'latest' };
  return { image: name.slice(0, at), tag: name.slice(at + 1) };
}
