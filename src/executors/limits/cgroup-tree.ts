/**
 * Where a node may make cgroups. Version 2 gives one tree; version 1 has one for each controller,
 * and both may be mounted beside each other, with the controllers in either. What is needed is that
 * memory, processes and processor time can be counted; a version 2 tree without controllers still
 * knows how to kill.
 *
 * Of version 2 a cgroup that has processes may not hand controllers down, and the node is in one.
 * So the nearest ancestor that can give them is used: a service with `Delegate=yes` and a user's
 * own manager allow that to anybody, the rest of the tree only to root. In a container the tree is
 * usually read-only, and there is none.
 *
 * One folder per data folder (`mesh-<hash>`), made with the first job that needs it, removed with
 * the node.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { Cgroup } from './cgroup.ts';

const run = promisify(execFile);

const COUNTERS = ['memory', 'pids', 'cpuacct'] as const;
const HAND_DOWN = '+memory +pids';

export class CgroupTree {
  /** One in each hierarchy. */
  private readonly folders: readonly string[];
  private serial = 0;

  private constructor(folders: readonly string[]) {
    this.folders = folders;
  }

  /** Undefined: this node may make none. Never rejects. @param dataFolder the node's */
  static async find(dataFolder: string): Promise<CgroupTree | undefined> {
    const name = cgroupName(dataFolder);
    const made: string[] = [];
    try {
      const isEnough = await makeFolders(name, made);
      const tree = new CgroupTree(made);
      if (isEnough && (await tree.takesProcesses())) return tree;
    } catch {
      // Then limits are kept by other means.
    }
    for (const folder of made) await rmdir(folder).catch(() => {});
    return undefined;
  }

  async make(): Promise<Cgroup> {
    this.serial += 1;
    const name = `${process.pid}-${this.serial}`;
    const cgroup = new Cgroup(this.folders.map((folder) => join(folder, name)));
    try {
      for (const folder of cgroup.folders) await mkdir(folder);
    } catch (thrown) {
      await cgroup.remove();
      throw thrown;
    }
    return cgroup;
  }

  /** What a job of a node that was left is in, stays. */
  async remove(): Promise<void> {
    for (const folder of this.folders) await rmdir(folder).catch(() => {});
  }

  /** Whoever may make a folder may still not be allowed to move a process into it. */
  private async takesProcesses(): Promise<boolean> {
    const probe = await this.make();
    const script = 'for each do echo 0 >"$each/cgroup.procs" || exit 1; done';
    const taken = await run('/bin/sh', ['-c', script, 'mesh-probe', ...probe.folders]).then(
      () => true,
      () => false,
    );
    await probe.remove();
    return taken;
  }
}

export const cgroupName = (dataFolder: string): string =>
  `mesh-${createHash('sha256').update(resolve(dataFolder)).digest('hex').slice(0, 12)}`;

interface Hierarchy {
  readonly isUnified: boolean;
  readonly controllers: readonly string[];
  readonly mountPoint: string;
  /** The node's own cgroup in it. */
  readonly own: string;
}

/** False: something cannot be counted. @param made also what must be removed then */
async function makeFolders(name: string, made: string[]): Promise<boolean> {
  const hierarchies = await hierarchiesOf();
  const unified = hierarchies.find(({ isUnified }) => isUnified);
  const counted = new Set<string>();
  for (const { isUnified, controllers, own } of hierarchies) {
    if (isUnified || !controllers.some((one) => isCounter(one))) continue;
    made.push(await makeFolder(join(own, name)));
    for (const one of controllers) counted.add(one);
  }
  if (unified) await makeUnified(name, unified, { made, counted });
  return COUNTERS.every((one) => counted.has(one));
}

const isCounter = (name: string): boolean => COUNTERS.some((one) => one === name);

async function makeUnified(
  name: string,
  { own, mountPoint }: Hierarchy,
  { made, counted }: { made: string[]; counted: Set<string> },
): Promise<void> {
  const isNeeded = !counted.has('memory');
  for (let parent = own; ; parent = dirname(parent)) {
    const folder = await makeFolder(join(parent, name)).catch(() => undefined);
    if (folder !== undefined) {
      const handed = isNeeded ? await handDown(parent, folder) : true;
      if (handed) {
        made.push(folder);
        for (const one of isNeeded ? COUNTERS : []) counted.add(one);
        return;
      }
      await rmdir(folder).catch(() => {});
    }
    if (parent === mountPoint || parent === dirname(parent)) return;
  }
}

/** `cpu.stat` needs no controller. */
async function handDown(parent: string, folder: string): Promise<boolean> {
  if (!(await hasControllers(folder))) {
    await writeFile(join(parent, 'cgroup.subtree_control'), HAND_DOWN).catch(() => {});
  }
  if (!(await hasControllers(folder))) return false;
  return writeFile(join(folder, 'cgroup.subtree_control'), HAND_DOWN).then(
    () => true,
    () => false,
  );
}

async function hasControllers(folder: string): Promise<boolean> {
  const words = (await textOf(join(folder, 'cgroup.controllers'))).trim().split(' ');
  return words.includes('memory') && words.includes('pids');
}

/** One of this name is this node's own: a data folder has one node. */
async function makeFolder(path: string): Promise<string> {
  await mkdir(path).catch((thrown: unknown) => {
    if ((thrown as { code?: string }).code !== 'EEXIST') throw thrown;
  });
  return path;
}

async function hierarchiesOf(): Promise<Hierarchy[]> {
  const mounts = (await textOf('/proc/self/mountinfo')).split('\n');
  const own = (await textOf('/proc/self/cgroup')).split('\n').map((line) => line.split(':'));
  return mounts.flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', mountPoint = ''] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') return [];
    const isUnified = type === 'cgroup2';
    const controllers = isUnified ? [] : options.split(',');
    const entry = own.find(([number, names = '']) =>
      isUnified ? number === '0' : names.split(',').some((one) => controllers.includes(one)),
    );
    // A path may hold colons.
    const path = entry?.slice(2).join(':');
    if (path === undefined) return [];
    const below = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
    return [{ isUnified, controllers, mountPoint, own: join(mountPoint, below) }];
  });
}

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
