/**
 * What a container without a terminal prints comes as frames: one byte for the stream (1 stdout,
 * 2 stderr), three of zero, four for the length, and so many bytes of it.
 */
import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import type { Place } from '../task-type.ts';

const HEADER_BYTES = 8;

export interface Printed {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Buffer;
}

/** A frame may come in several parts. Throws where the bytes are no frames. */
export async function* unframe(source: AsyncIterable<Buffer>): AsyncGenerator<Printed> {
  let header = Buffer.alloc(0);
  let stream: Printed['stream'] = 'stdout';
  let left = 0;
  for await (const chunk of source) {
    let rest = chunk;
    while (rest.length > 0) {
      if (left > 0) {
        yield { stream, bytes: rest.subarray(0, left) };
        const taken = Math.min(left, rest.length);
        left -= taken;
        rest = rest.subarray(taken);
        continue;
      }
      const missing = HEADER_BYTES - header.length;
      header = Buffer.concat([header, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (header.length < HEADER_BYTES) break;
      if ((header[0] ?? 3) > 2) throw new Error('the engine sent output that is no frames');
      stream = header[0] === 2 ? 'stderr' : 'stdout';
      left = header.readUInt32BE(4);
      header = Buffer.alloc(0);
    }
  }
}

/** With a terminal there is one stream, and no frames. */
export async function* unframed(source: AsyncIterable<Buffer>): AsyncGenerator<Printed> {
  for await (const bytes of source) yield { stream: 'stdout', bytes };
}

export async function writeOutput(
  printed: AsyncIterable<Printed>,
  { stdout, stderr }: Place,
): Promise<void> {
  const files = { stdout: append(stdout), stderr: append(stderr) };
  try {
    for await (const { stream, bytes } of printed) {
      const file = files[stream];
      await new Promise<void>((resolve, reject) => {
        file.write(bytes, (failure) => (failure ? reject(failure) : resolve()));
      });
    }
  } finally {
    await Promise.all(Object.values(files).map((file) => finished(file.end()).catch(() => {})));
  }
}

function append(path: string): WriteStream {
  // What goes wrong is told to the write; without a listener it would end the process.
  return createWriteStream(path, { flags: 'a' }).on('error', () => {});
}
