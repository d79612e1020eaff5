/** The only door to the code that is generated from proto/mesh.proto. */
import './plain-numbers.ts';
import protobuf from 'protobufjs/minimal.js';

export { mesh } from './gen/mesh.js';

export const { Reader, Writer } = protobuf;
