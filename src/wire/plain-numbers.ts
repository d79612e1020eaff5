/**
 * Makes protobufjs read 64-bit fields as plain numbers. It would give objects of the package
 * `long` as soon as that package is installed, which it always is, and the generated code takes
 * its defaults from this choice while it is loaded: so this module does its work at import, and
 * schema.ts imports it first. Numbers above 2^53 - 1 lose digits; fields.ts refuses them.
 */
import protobuf from 'protobufjs/minimal.js';

(protobuf.util as { Long: unknown }).Long = undefined;
protobuf.configure();
