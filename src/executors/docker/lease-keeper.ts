/**
 * Containers are processes of the engine and not of the node: they would go on when the node is
 * dead or stands still, and another node runs the job then. So beside a node that runs containers
 * there is one small process that kills each when its lease is over, and that outlives the node
 * for as long as it has to. It learns of leases, and of the node's death, by a pipe.
 *
 * A lease that ends while the node is well is no case for it: the node has ended the container
 * by then. What it killed is removed by the next start of the node.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { SupervisedLease } from '../../core/effects.ts';
import type { Engine } from './engine.ts';

/** What an engine takes to kill a container. */
const KILL_BEFORE_MS = 300;

/**
 * A line is a container's id and: `U ms` it is killed so long after that, `D ms` so long after the
 * node's death, `N` never, `E` it is gone. The time is that since the machine started, which goes
 * on while it sleeps. A kill that the engine does not take is tried again each
 * second for a minute: an engine that is gone for longer has ended its containers.
 */
const SCRIPT = `
const { request } = require('node:http');
const { uptime } = require('node:os');
const [socketPath, prefix] = process.argv.slice(1);
const leases = new Map();
let isAlone = false;
const kill = (id) => {
  const path = prefix + '/containers/' + id + '/kill?signal=SIGKILL';
  const sent = request({ socketPath, path, method: 'POST', agent: false, timeout: 5000 }, (answer) => {
    answer.resume();
    if (answer.statusCode < 500) leases.delete(id);
  });
  sent.on('error', () => {}).on('timeout', () => sent.destroy()).end();
};
const look = () => {
  for (const [id, lease] of leases) {
    if (lease.at === undefined || uptime() < lease.at) continue;
    lease.due ??= lease.at;
    lease.at = uptime() + 1;
    if (uptime() > lease.due + 60) leases.delete(id);
    else kill(id);
  }
  if (isAlone && ![...leases.values()].some(({ at }) => at !== undefined)) process.exit();
};
const take = (line) => {
  const [id, kind, ms] = line.split(' ');
  const seconds = Number(ms) / 1000;
  if (kind === 'U') leases.set(id, { at: uptime() + seconds });
  else if (kind === 'D') leases.set(id, { afterDeath: seconds });
  else if (kind === 'N') leases.set(id, {});
  else leases.delete(id);
};
let text = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => {
  const lines = (text + chunk).split('\\n');
  text = lines.pop();
  lines.forEach(take);
});
process.stdin.on('end', () => {
  isAlone = true;
  for (const lease of leases.values())
    if (lease.afterDeath !== undefined) lease.at = uptime() + lease.afterDeath;
  look();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
setInterval(look, 100);
`;

export class LeaseKeeper {
  private readonly engine: Engine;
  private readonly onProblem: (sentence: string) => void;
  /** What it was told of each container that runs. */
  private readonly lines = new Map<string, string>();
  private child: ChildProcess | undefined;

  constructor(engine: Engine, onProblem: (sentence: string) => void) {
    this.engine = engine;
    this.onProblem = onProblem;
  }

  /** Of a new container, or a new lease of one. */
  hold(container: string, lease: SupervisedLease): void {
    const line = `${container} ${textOf(lease)}\n`;
    this.lines.set(container, line);
    if (this.child) this.child.stdin?.write(line);
    else this.start();
  }

  forget(container: string): void {
    if (!this.lines.delete(container)) return;
    this.child?.stdin?.write(`${container} E\n`);
    if (this.lines.size === 0) this.close();
  }

  /** It ends once nothing is left to it. */
  close(): void {
    this.child?.stdin?.end();
    this.child = undefined;
  }

  private start(): void {
    const args = ['-e', SCRIPT, '--', this.engine.socket, this.engine.prefix];
    const child = spawn(process.execPath, args, {
      // A Ctrl-C in the node's terminal does not reach it.
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: {},
    });
    this.child = child;
    child.stdin?.on('error', () => {});
    child.once('error', () => this.onGone(child));
    child.once('exit', () => this.onGone(child));
    child.unref();
    for (const line of this.lines.values()) child.stdin?.write(line);
  }

  /** Killed by somebody, or it could not be started: the next lease starts another. */
  private onGone(child: ChildProcess): void {
    if (this.child !== child) return;
    this.child = undefined;
    this.onProblem(
      'The process that holds the leases of containers has ended, and is started again with the next lease.',
    );
  }
}

function textOf(lease: SupervisedLease): string {
  switch (lease.tag) {
    case 'leased':
      return `U ${Math.max(0, lease.leftMs - KILL_BEFORE_MS)}`;
    case 'ownNode':
      return `D ${Math.max(0, lease.afterDeathMs)}`;
    case 'unlimited':
      return 'N';
  }
}
