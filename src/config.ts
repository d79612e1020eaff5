/**
 * From flags, environment, settings file and defaults to one frozen value, once, at the start.
 * The first source that names a setting wins: flag, then environment, then file, then default.
 * Nothing is guessed: a value that cannot be read, a key nobody knows and two settings that
 * contradict each other stop the start with a sentence that names the setting, its value, where
 * it came from and what would be right.
 */
import { availableParallelism, homedir, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { MeshError } from './base/errors.ts';
import { SETTINGS, type Setting, type SettingKey, type Surroundings } from './config/settings.ts';
import { parseSettingsFile } from './config/settings-file.ts';

type ValueOf<Entry> = Entry extends Setting<infer Value> ? Value : never;

/** One field per line of {@link SETTINGS}, which says what it means; paths are absolute. */
export type Config = { readonly [Key in SettingKey]: ValueOf<(typeof SETTINGS)[Key]> };

export interface ConfigSources {
  /** By the setting's name, in either form: `api-port` or `apiPort`. Others are ignored. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Undefined: there is no such file. */
  readonly readFile: (path: string) => string | undefined;
  /** Only for tests; else asked of the operating system. */
  readonly machine?: Pick<Surroundings, 'home' | 'hostname' | 'cores'>;
}

/** @throws MeshError BAD_SETTING */
export function parseConfig(sources: ConfigSources): Config {
  const around = surroundings(sources);
  const configDir = resolveSetting('configDir', sources, undefined, around) as string;
  const named = resolveSetting('config', sources, undefined, around) as string | undefined;
  const file = openFile({ configDir, named, home: around.home }, sources.readFile);
  const givenName = givenText('name', sources, file)?.text.trim();
  const values = KEYS.map((key) => [
    key,
    resolveSetting(key, sources, file, { ...around, givenName }),
  ]);
  const config = withAbsolutePaths(Object.fromEntries(values) as Config, around.home);
  refuseContradictions(config);
  return Object.freeze(config);
}

const KEYS = Object.keys(SETTINGS) as readonly SettingKey[];
const PATH_KEYS = ['dataDir', 'configDir', 'config', 'keyFile'] as const;

interface Given {
  readonly text: string;
  /** Completes "from …". */
  readonly where: string;
}

interface SettingsFile {
  readonly path: string;
  readonly values: ReadonlyMap<string, string>;
}

function surroundings(sources: ConfigSources): Surroundings {
  const machine = sources.machine ?? {
    home: homedir(),
    hostname: hostname(),
    cores: availableParallelism(),
  };
  const home = sources.env.HOME || machine.home;
  return { ...machine, home, env: sources.env, givenName: undefined };
}

function openFile(
  at: { configDir: string; named: string | undefined; home: string },
  readFile: ConfigSources['readFile'],
): SettingsFile | undefined {
  const path = absolute(at.named ?? join(at.configDir, 'mesh.yaml'), at.home);
  const content = readFile(path);
  if (content !== undefined) return { path, values: parseSettingsFile(path, content, isFileKey) };
  if (at.named === undefined) return undefined;
  throw new MeshError(
    'BAD_SETTING',
    `There is no settings file ${path}: name one that is there with --config (or MESH_CONFIG), or leave it out.`,
  );
}

const isFileKey = (name: string): boolean =>
  Object.values(SETTINGS).some((entry) => entry.name === name && entry.from.includes('file'));

function resolveSetting(
  key: SettingKey,
  sources: ConfigSources,
  file: SettingsFile | undefined,
  around: Surroundings,
): unknown {
  const entry: Setting<unknown> = SETTINGS[key];
  const given = givenText(key, sources, file);
  if (given === undefined && typeof entry.fallback !== 'string') return entry.fallback(around);
  const { text, where } = given ?? { text: entry.fallback as string, where: 'the default' };
  const value = entry.kind.parse(text.trim());
  if (value !== undefined) return value;
  const shown = entry.isSecret ? 'is not usable' : `is ${JSON.stringify(text)}`;
  throw new MeshError(
    'BAD_SETTING',
    `The setting ${entry.name} ${shown} (from ${where}). It must be ${entry.kind.allowed}.`,
  );
}

function givenText(
  key: SettingKey,
  sources: ConfigSources,
  file: SettingsFile | undefined,
): Given | undefined {
  const entry: Setting<unknown> = SETTINGS[key];
  const flag = entry.from.includes('flag') ? flagText(entry.name, sources.flags) : undefined;
  if (flag !== undefined) return { text: flag, where: `--${entry.name}` };
  const fromEnv = envText(entry, sources.env);
  if (fromEnv !== undefined) return fromEnv;
  const text = file?.values.get(entry.name);
  return text === undefined || file === undefined ? undefined : { text, where: file.path };
}

/** Argument parsers hand flags over in camel case, and switches as booleans. */
function flagText(name: string, flags: Readonly<Record<string, unknown>>): string | undefined {
  const camel = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
  const value = flags[name] ?? flags[camel];
  return value === undefined ? undefined : String(value);
}

/** An empty variable counts as not set, as is the custom. */
function envText(entry: Setting<unknown>, env: ConfigSources['env']): Given | undefined {
  const given = entry.env.filter((name) => env[name]);
  const [first, ...others] = given;
  if (first === undefined) return undefined;
  const other = others.find((name) => env[name] !== env[first]);
  if (other !== undefined) {
    throw new MeshError(
      'BAD_SETTING',
      `The environment variables ${first} and ${other} both give the setting ${entry.name}, with different values. Set only ${first}.`,
    );
  }
  return { text: env[first] ?? '', where: `the environment variable ${first}` };
}

function refuseContradictions(config: Config): void {
  const refuse = (sentence: string): never => {
    throw new MeshError('BAD_SETTING', sentence);
  };
  if (config.peerTimeoutMs <= config.heartbeatIntervalMs) {
    refuse(
      `The setting peer-timeout (${config.peerTimeoutMs} ms) must be longer than heartbeat-interval (${config.heartbeatIntervalMs} ms).`,
    );
  }
  if (config.open && (config.key !== undefined || config.keyFile !== undefined)) {
    refuse('The setting open says that there is no secret, and a key is given too: leave out one.');
  }
  if (config.key !== undefined && config.keyFile !== undefined) {
    refuse('MESH_KEY and the setting key-file both give the mesh key: leave out one.');
  }
  if (config.apiPort !== 0 && config.apiPort === config.linkPort) {
    refuse(`The settings api-port and link-port are both ${config.apiPort}: they must differ.`);
  }
}

function withAbsolutePaths(config: Config, home: string): Config {
  const changed = PATH_KEYS.map((key) => {
    const path = config[key];
    return [key, path === undefined ? undefined : absolute(path, home)];
  });
  const { python } = config;
  // A bare name is looked for in the PATH.
  const program = python.includes('/') ? absolute(python, home) : python;
  const tasks = config.tasks.map((path) => absolute(path, home));
  return { ...config, ...Object.fromEntries(changed), python: program, tasks };
}

/** Shells expand `~` on a command line, nobody does in a file. */
const absolute = (path: string, home: string): string =>
  path === '~' || path.startsWith('~/') ? join(home, path.slice(1)) : resolve(path);
