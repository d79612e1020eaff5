/** The only door to the code that is generated from proto/mesh.proto. The order is important. */
import './plain-numbers.ts';

export { mesh } from './gen/mesh.js';
