/** What the system says of processes that are not this one's children. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Node's way to say "no such file" is an exception; here it is an answer. */
const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

/** Fields of /proc/PID/stat from the third on; the second may contain anything, also `)`. */
const fieldsOf = (stat: string): string[] => stat.slice(stat.lastIndexOf(')') + 2).split(' ');

/**
 * Equal at two times when process ids of then still mean the same processes now: same boot of the
 * machine, same pid namespace (a container started again has another). Empty when unknown.
 */
export async function hostIdentity(): Promise<string> {
  const boot = (await textOf('/proc/sys/kernel/random/boot_id')).trim();
  if (boot) return `${boot} ${await readlink('/proc/self/ns/pid').catch(() => '')}`;
  const asked = await run('/usr/sbin/sysctl', ['-n', 'kern.boottime']).catch(() => ({
    stdout: '',
  }));
  return asked.stdout.trim();
}

/** Undefined: no such process. Text to be compared with what the process itself listed. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await textOf(`/proc/${pid}/stat`);
  if (stat) return fieldsOf(stat)[19];
  if (await textOf('/proc/self/stat')) return undefined;
  const env = { LC_ALL: 'C', TZ: 'UTC0' };
  const asked = await run('/bin/ps', ['-o', 'lstart=', '-p', String(pid)], { env }).catch(() => ({
    stdout: '',
  }));
  return asked.stdout.trim().split(/\s+/).join(' ') || undefined;
}

/** Not one that is dead and waits to be fetched, nor another that was given its number since. */
export async function isSameProcess(pid: number, startTime: string): Promise<boolean> {
  const fields = fieldsOf(await textOf(`/proc/${pid}/stat`));
  return fields[0] !== 'Z' && startTime !== '' && fields[19] === startTime;
}

/** Whether a process of the session was started with these `NAME=value` in its environment. */
export async function hasMember(sessionId: number, variables: readonly string[]): Promise<boolean> {
  for (const { pid, fields } of await allProcesses()) {
    if (Number(fields[3]) !== sessionId) continue;
    const environment = (await textOf(`/proc/${pid}/environ`)).split('\0');
    if (variables.every((variable) => environment.includes(variable))) return true;
  }
  return false;
}

/**
 * False: nothing of this session can act any more. A killed orphan stays in the process table until
 * the system's first process fetches its status, which may take seconds or for ever (a container
 * whose first process is no init); so what is in the table is asked whether it is more than that.
 */
export async function isSessionAlive(sessionId: number, except?: number): Promise<boolean> {
  const processes = await allProcesses();
  if (processes.length === 0) return signalGroup(sessionId, 0);
  return processes.some(
    ({ pid, fields }) => isLiveMember(fields, sessionId) && Number(pid) !== except,
  );
}

const isLiveMember = ([state, , , session]: readonly string[], sessionId: number): boolean =>
  Number(session) === sessionId && state !== 'Z';

/** The process id that the system gave away last; undefined: it does not tell. */
export function lastPid(): number | undefined {
  try {
    const last = Number(readFileSync('/proc/loadavg', 'latin1').trim().split(' ')[4]);
    return Number.isSafeInteger(last) ? last : undefined;
  } catch {
    return undefined;
  }
}

/** More than that are not asked one by one. */
const MAX_PIDS_ASKED = 64;

/** What there can be of those who were in a session, beside its leader. */
export type Remains =
  | 'nothing'
  /** Nobody is in it; somebody may have made a session of its own. */
  | 'elsewhere'
  | 'inSession';

/**
 * @param since a process id: nobody older was in it beside its leader, and the system has not begun
 * again with small ones; undefined: anybody may have been
 */
export async function remainsOf(sessionId: number, since: number | undefined): Promise<Remains> {
  const known = since === undefined ? undefined : remainsAmongYounger(sessionId, since);
  if (known) return known;
  return (await isSessionAlive(sessionId, sessionId)) ? 'inSession' : 'elsewhere';
}

/** Undefined: not known in this way. */
function remainsAmongYounger(sessionId: number, since: number): Remains | undefined {
  let remains: Remains = 'nothing';
  let asked = since;
  // One that was asked may have had a child meanwhile: that is younger than all before.
  for (let last = lastPid(); ; last = lastPid()) {
    if (last === undefined || last < asked || last - since > MAX_PIDS_ASKED) return undefined;
    // A job has at least one process, which is gone: who sees none sees another table.
    if (last === since) return undefined;
    if (last === asked) return remains;
    for (asked += 1; asked <= last; asked++) {
      const session = asked === sessionId ? undefined : sessionOfLiving(asked);
      if (session === sessionId) return 'inSession';
      if (session !== undefined && session > since) remains = 'elsewhere';
    }
    asked = last;
  }
}

/** Undefined: it is not there, or dead. */
function sessionOfLiving(pid: number): number | undefined {
  const path = `/proc/${pid}/stat`;
  // Most are gone, and an exception costs more than all the rest.
  if (!existsSync(path)) return undefined;
  try {
    const [state, , , session] = fieldsOf(readFileSync(path, 'latin1'));
    return state === 'Z' ? undefined : Number(session);
  } catch {
    return undefined;
  }
}

/** Processor time of its children and what they have waited for; undefined: not known. */
export function childrenCpuMs(pid: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    // There may be none any more.
    const ticks = (children.match(/\d+/g) ?? []).flatMap((child) => {
      const fields = fieldsOf(readFileSync(`/proc/${child}/stat`, 'latin1'));
      return CPU_FIELDS.map((at) => Number(fields[at]));
    });
    return ticks.reduce((sum, each) => sum + each, 0) * MS_PER_TICK;
  } catch {
    return undefined;
  }
}

/** User and system time, its own and its children's. */
const CPU_FIELDS = [11, 12, 13, 14];
/** Linux counts in hundredths of a second for all programs, whatever it counts in itself. */
const MS_PER_TICK = 10;

const FIRST_LOOK_MS = 5;
const LAST_LOOK_MS = 250;

/**
 * False: at the deadline it still was not. Looks less and less often: a look goes through all
 * processes.
 */
export async function untilSessionIsGone(
  sessionId: number,
  deadlineMs: number,
  except?: number,
): Promise<boolean> {
  const deadline = performance.now() + deadlineMs;
  for (let pauseMs = FIRST_LOOK_MS; await isSessionAlive(sessionId, except); pauseMs *= 1.5) {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) return false;
    await delay(Math.min(pauseMs, LAST_LOOK_MS, leftMs));
  }
  return true;
}

/** False: no process of this group was there. */
export function signalGroup(groupId: number, signal: NodeJS.Signals | 0): boolean {
  return signalOne(-groupId, signal);
}

/**
 * The group, then what is in the same session but in groups of its own: `timeout` makes one, and
 * every shell with job control. @param hasLeader its main process is alive and may not yet have
 * made the group
 */
export async function signalSession(
  sessionId: number,
  signal: NodeJS.Signals,
  { hasLeader }: { readonly hasLeader: boolean },
): Promise<void> {
  if (!signalGroup(sessionId, signal) && hasLeader) signalOne(sessionId, signal);
  const groups = new Set<number>();
  for (const { fields } of await allProcesses()) {
    if (Number(fields[3]) === sessionId) groups.add(Number(fields[2]));
  }
  groups.delete(sessionId);
  for (const group of groups) signalGroup(group, signal);
}

function signalOne(target: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(target, signal);
    return true;
  } catch (thrown) {
    return (thrown as { code?: string }).code !== 'ESRCH';
  }
}

/** Empty where the system has no /proc. */
async function allProcesses(): Promise<{ pid: string; fields: string[] }[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  return Promise.all(
    pids.map(async (pid) => ({ pid, fields: fieldsOf(await textOf(`/proc/${pid}/stat`)) })),
  );
}
