/** `embedded-process.ts FOLDER SETTINGS`: a program that has a node in it, as createNode makes it. */
import { startEmbedded } from './embedded-node.ts';

const [folder = '', settings = '{}'] = process.argv.slice(2);

process.on('SIGINT', () => {});
const node = await startEmbedded({ isQuick: false, folder }, JSON.parse(settings));
process.on('disconnect', () => process.exit(0));
process.send?.({ url: node.url, id: node.id });
