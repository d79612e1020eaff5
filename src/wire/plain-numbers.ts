/**
 * Makes protobufjs read 64-bit fields as plain numbers. It would give objects of the package
 * `long` as soon as that package is installed, which it always is. Numbers above 2^53 - 1 lose
 * digits; fields.ts refuses them.
 *
 * It is done at import, and after the generated code was loaded: that code has already taken
 * objects as the defaults of its fields by then, so they are replaced. Done before, as it would
 * be simpler, it holds in Node but not in the bundle: esbuild loses the order of imports that
 * have no value where it splits the code.
 */
import protobuf from 'protobufjs/minimal.js';
import { google, mesh } from './gen/mesh.js';

const settings = protobuf.util as unknown as {
  Long?: { isLong(value: unknown): boolean } | undefined;
};
const { Long } = settings;
if (Long) {
  for (const type of [...Object.values(mesh), google.protobuf.Timestamp]) {
    if (typeof type !== 'function') continue;
    const fields = type.prototype as unknown as Record<string, unknown>;
    for (const [name, fallback] of Object.entries(fields)) {
      if (Long.isLong(fallback)) fields[name] = 0;
    }
  }
  settings.Long = undefined;
  protobuf.configure();
}
