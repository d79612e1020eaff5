/** What commands need that start nodes of their own on this machine, beside the user's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** Reads process ids, `-` before one that has ended, and ends the rest when this one ends without a word. */
const WATCH_SCRIPT = `
trap '' INT HUP TERM QUIT
all=' '
while read -r word; do
  case $word in
    bye) exit 0;;
    -*) all="\${all%% \${word#-} *} \${all#* \${word#-} }";;
    *) all="$all$word ";;
  esac
done
kill -s CONT $all 2>/dev/null
kill -s INT $all 2>/dev/null`;

/** Nobody would find the nodes of a command that was killed. */
export class NodeWatch {
  private readonly child: ChildProcess;
  private readonly watched = new Set<number>();

  constructor() {
    this.child = spawn('/bin/sh', ['-c', WATCH_SCRIPT], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    // Without it everything else works the same.
    this.child.on('error', () => undefined);
    this.child.stdin?.on('error', () => undefined);
  }

  add(pid: number): void {
    if (this.watched.has(pid)) return;
    this.watched.add(pid);
    this.child.stdin?.write(`${pid}\n`);
  }

  /** Its number may soon be another's. */
  remove(pid: number): void {
    if (this.watched.delete(pid)) this.child.stdin?.write(`-${pid}\n`);
  }

  dismiss(): void {
    this.child.stdin?.end('bye\n');
  }
}

export async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}

/** Settings for the user's own nodes must not steer these. */
export function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isSetting =
    /^(MESH_|NODELINK_|API_PORT$|DISCOVERY_PORT$|HEARTBEAT_INTERVAL$|PEER_TIMEOUT$|CAPABILITIES$)/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSetting.test(name)));
}
