/** Bytes that nobody should send, the same ones for the same seed. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Random, randomBelow } from '../../src/base/random.ts';

/** Multiplies all counts; 10 gives a run of minutes. */
export const FACTOR = Number(process.env.HOSTILE_FACTOR ?? 1);
export const SEED = Number(process.env.HOSTILE_SEED ?? 1);

const INTERESTING = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x12];

export function randomBytes(random: Random, maxLength: number): Buffer {
  return Buffer.from(
    Array.from({ length: randomBelow(random, maxLength + 1) }, () => randomBelow(random, 256)),
  );
}

/** One to four changes: bits, bytes, pieces cut out, doubled, put in, or taken from another. */
export function mutate(random: Random, original: Buffer, others: readonly Buffer[]): Buffer {
  let bytes: Buffer = Buffer.from(original);
  for (let changes = 1 + randomBelow(random, 4); changes > 0; changes--) {
    bytes = change(random, bytes, others);
  }
  return bytes;
}

function change(random: Random, bytes: Buffer, others: readonly Buffer[]): Buffer {
  const at = randomBelow(random, bytes.length + 1);
  const length = randomBelow(random, 16);
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (randomBelow(random, 7)) {
    case 0: {
      const flipped = Buffer.from(bytes);
      if (at < flipped.length) flipped[at] = (flipped[at] ?? 0) ^ (1 << randomBelow(random, 8));
      return flipped;
    }
    case 1: {
      const replaced = Buffer.from(bytes);
      const byte = INTERESTING[randomBelow(random, INTERESTING.length)] ?? 0;
      if (at < replaced.length) replaced[at] = byte;
      return replaced;
    }
    case 2:
      return head;
    case 3:
      return Buffer.concat([head, tail.subarray(length)]);
    case 4:
      return Buffer.concat([head, tail.subarray(0, length), tail]);
    case 5:
      return Buffer.concat([head, randomBytes(random, 16), tail]);
    default: {
      const other = others[randomBelow(random, others.length)] ?? bytes;
      return Buffer.concat([head, other.subarray(randomBelow(random, other.length + 1))]);
    }
  }
}

/** What is in use after all garbage has gone. */
export function heapMegabytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed / 1024 / 1024;
}
