/** `mesh doctor`: what is wrong here, and what to do; with and without a running node. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../base/errors.ts';
import { readRunningNodes } from '../../client/running-nodes.ts';
import { type Config, parseConfig } from '../../config.ts';
import type { CommandTree } from '../command-tree.ts';
import { readSettingsFile } from '../config-folder.ts';
import { checkDataFolder, checkKey } from '../doctor/check-files.ts';
import { checkBroadcast, listenForHeartbeats } from '../doctor/check-network.ts';
import { checkClock, checkNodes } from '../doctor/check-nodes.ts';
import { checkApiPort, checkDiscoveryPort } from '../doctor/check-ports.ts';
import { type Finding, inArea } from '../doctor/finding.ts';
import { EXIT } from '../exit-codes.ts';
import { print, printJson, visible } from '../terminal.ts';

/** Two heartbeats at the usual interval, and a little. */
const LISTEN_MS = 2500;
const MARKS = { ok: 'ok  ', note: 'note', problem: 'BAD ' } as const;

export function addDoctor(tree: CommandTree): void {
  tree
    .local('doctor', 'Look for what keeps nodes from working here, and say what to do')
    .option('--config-dir <path>', 'folder of the mesh key and mesh.yaml')
    .option('--api-port <port>', 'look at this API port')
    .option('--discovery-port <port>', 'look at this UDP port')
    .addHelpText(
      'after',
      '\nIt takes the settings of `mesh up` from the environment and mesh.yaml.\nExit code: 0 when nothing is wrong, 1 when something is.',
    )
    .action(async (options: { json?: boolean }) => {
      const findings = await examine({ ...options });
      const hasProblem = findings.some((finding) => finding.level === 'problem');
      if (options.json) printJson({ ok: !hasProblem, findings });
      else printFindings(findings, hasProblem);
      tree.exitCode = hasProblem ? EXIT.failed : EXIT.ok;
    });
}

async function examine(flags: Readonly<Record<string, unknown>>): Promise<Finding[]> {
  const config = readConfig(flags);
  if (!('dataDir' in config)) return [config];
  const running = readRunningNodes(config.configDir);
  const key = checkKeyOf(config);
  const discovery = await checkDiscoveryPort(config.discoveryPort);
  const listening = discovery.socket
    ? listenForHeartbeats(discovery.socket, { keyId: key.keyId, waitMs: LISTEN_MS })
    : [];
  return [
    inArea('program')(
      'ok',
      `Node.js ${process.versions.node} on ${process.platform}-${process.arch}.`,
    ),
    ...key.findings,
    ...checkDataFolder(config.dataDir),
    await checkApiPort({ host: config.apiHost, port: config.apiPort }, running),
    discovery.finding,
    ...(await checkBroadcast()),
    ...(await listening),
    checkClock(Date.now(), statSync(fileURLToPath(import.meta.url)).mtimeMs),
    ...(await checkNodes(running)),
  ];
}

/** A setting that stops nodes from starting is the first thing to tell. */
function readConfig(flags: Readonly<Record<string, unknown>>): Config | Finding {
  try {
    return parseConfig({ flags, env: process.env, readFile: readSettingsFile });
  } catch (failure) {
    return inArea('settings')('problem', messageOf(failure));
  }
}

function checkKeyOf(config: Config): ReturnType<typeof checkKey> {
  if (config.open) {
    const text = 'The setting open is on: everybody on this network may join and run commands.';
    return { findings: [inArea('key')('note', text)], keyId: undefined };
  }
  if (config.key !== undefined) {
    return {
      findings: [inArea('key')('ok', 'The mesh key comes from MESH_KEY.')],
      keyId: undefined,
    };
  }
  return checkKey(config.keyFile ?? join(config.configDir, 'mesh.key'));
}

function printFindings(findings: readonly Finding[], hasProblem: boolean): void {
  for (const { area, level, text, advice } of findings) {
    print(`${MARKS[level]} ${area.padEnd(8)} ${visible(text)}`);
    if (advice !== undefined) print(`${' '.repeat(14)}-> ${visible(advice)}`);
  }
  const count = findings.filter((finding) => finding.level === 'problem').length;
  print('');
  print(
    hasProblem ? `${count} ${count === 1 ? 'thing is' : 'things are'} wrong.` : 'Nothing is wrong.',
  );
}
