/** `mesh up`: a node in this process. */
import { Option } from 'commander';
import { flagOf, settingsHelp } from '../../config/help.ts';
import { SETTINGS } from '../../config/settings.ts';
import { parseConfig } from '../../config.ts';
import type { CommandTree } from '../command-tree.ts';
import { readSettingsFile } from '../config-folder.ts';

const EXAMPLES = `
Examples:
  mesh up                                  # API on http://localhost:3000
  mesh up --name two --api-port 3002       # a second node on this machine
  mesh up --tasks ./tasks.ts               # serves handlers of your own
  mesh up --slots 8 --labels room=attic --capabilities gpu

Ctrl-C once: it takes no new jobs, finishes what runs and leaves.
Twice: it ends at once. Closing the terminal is as good as one Ctrl-C; under
nohup the node goes on. SIGTERM is for service managers: the node hands over
its jobs and ends, and what runs goes on if it is started again within seconds.

Settings (flag, else environment, else mesh.yaml, else default):
`;

const addToList = (value: string, before: string | undefined): string =>
  before === undefined ? value : `${before},${value}`;

export function addUp(tree: CommandTree): void {
  const command = tree.local('up', 'Run a node in this terminal until Ctrl-C').usage('[settings]');
  for (const setting of Object.values(SETTINGS)) {
    const flag = flagOf(setting);
    if (flag === undefined) continue;
    const option = new Option(flag, setting.meaning).hideHelp();
    if (setting.kind.isList) option.argParser(addToList);
    command.addOption(option);
  }
  command
    .addHelpText('after', () => EXAMPLES + settingsHelp())
    .action(async () => {
      const config = parseConfig({
        flags: command.opts(),
        env: process.env,
        readFile: readSettingsFile,
      });
      const { runNode } = await import('../../main.ts');
      tree.exitCode = await runNode(config);
    });
}
