/**
 * The one table of settings. Flags, environment, file, `--help` and the README's table are all
 * read from it, and the type `Config` is made of it, so a setting can't be half there.
 *
 * The secret itself (`key`) has neither a flag nor a file key: command lines are public on a
 * machine, and the settings file is one that people show each other. It has a file of its own.
 */
import {
  duration,
  files,
  flagOnly,
  integer,
  type Kind,
  oneOf,
  onOff,
  pairs,
  path,
  paths,
  port,
  size,
  text,
  words,
} from './kinds.ts';

/** What the defaults hang on. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly hostname: string;
  readonly cores: number;
  /** The `name` setting, where it was given. */
  readonly givenName: string | undefined;
}

export interface Setting<Value> {
  /** Flag without dashes, key in the settings file, and the word used in messages. */
  readonly name: string;
  /** Where it may be given, apart from the environment. */
  readonly from: readonly ('flag' | 'file')[];
  /** Names that are read, all of the same meaning; the first is the one to use. */
  readonly env: readonly string[];
  readonly kind: Kind<Value>;
  /** A value in text form, or what makes one. */
  readonly fallback: string | ((around: Surroundings) => Value);
  /** How the help names a fallback that is made. */
  readonly fallbackText?: string;
  /** A full sentence. */
  readonly meaning: string;
  /** Never shown, also not in messages. */
  readonly isSecret?: boolean;
}

const EVERYWHERE = ['flag', 'file'] as const;
const HOST = /^[A-Za-z0-9_.:%-]{1,253}$/;
const PEER = /^(\[[0-9a-f:.%]+\]|[a-z0-9_.-]{1,253})(:\d{1,5})?$/;

const setting = <Value>(entry: Setting<Value>): Setting<Value> => entry;

/** As DOCKER_HOST has it. Whether it is one that can be used shows when it is. */
const socketPath: Kind<string> = {
  ...path,
  parse: (raw) => path.parse(raw.replace(/^unix:\/\//, '')),
};

/** A kind whose value may also be left out. */
const optional = <Value>(kind: Kind<Value>): Kind<Value | undefined> => kind;

export const SETTINGS = {
  name: setting({
    name: 'name',
    from: EVERYWHERE,
    env: ['MESH_NAME', 'NODELINK_AGENT_ID'],
    kind: text({
      allowed: '1 to 64 letters, digits and ._- beginning with a letter or digit',
      pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    }),
    fallback: (around) => nameFrom(around.hostname),
    fallbackText: "the machine's name",
    meaning: 'What people call this node; need not be unique.',
  }),
  dataDir: setting({
    name: 'data-dir',
    from: EVERYWHERE,
    env: ['MESH_DATA_DIR'],
    kind: path,
    fallback: (around) =>
      `${around.env.XDG_DATA_HOME || `${around.home}/.local/share`}/worker-mesh/${around.givenName ?? 'default'}`,
    fallbackText: '~/.local/share/worker-mesh/NAME, or …/default without a name',
    meaning: 'Folder of the database, the identity and the outputs; one running node each.',
  }),
  configDir: setting({
    name: 'config-dir',
    from: ['flag'],
    env: ['MESH_CONFIG_DIR'],
    kind: path,
    fallback: (around) => `${around.env.XDG_CONFIG_HOME || `${around.home}/.config`}/worker-mesh`,
    fallbackText: '~/.config/worker-mesh',
    meaning: 'Folder of the mesh key and of mesh.yaml, shared by all nodes of a user.',
  }),
  config: setting({
    name: 'config',
    from: ['flag'],
    env: ['MESH_CONFIG'],
    kind: optional(path),
    fallback: () => undefined,
    fallbackText: 'mesh.yaml in config-dir, if it is there',
    meaning: 'Settings file (YAML), its keys named like the flags.',
  }),
  apiHost: setting({
    name: 'api-host',
    from: EVERYWHERE,
    env: ['MESH_API_HOST'],
    kind: text({ allowed: 'an address or host name of this machine', pattern: HOST }),
    fallback: '127.0.0.1',
    meaning: 'Address the REST API listens on; any but a loopback one asks for HTTPS and a token.',
  }),
  apiPort: setting({
    name: 'api-port',
    from: EVERYWHERE,
    env: ['MESH_API_PORT', 'API_PORT'],
    kind: port,
    fallback: '3000',
    meaning: 'Port of the REST API; 0 takes any free one.',
  }),
  apiNames: setting({
    name: 'api-names',
    from: EVERYWHERE,
    env: ['MESH_API_NAMES'],
    kind: words({ allowed: 'host names', pattern: /^[a-z0-9_.-]{1,253}$/ }),
    fallback: '',
    meaning: 'More host names under which the API may be asked (Host header).',
  }),
  discoveryPort: setting({
    name: 'discovery-port',
    from: EVERYWHERE,
    env: ['MESH_DISCOVERY_PORT', 'DISCOVERY_PORT'],
    kind: { ...integer({ min: 1, max: 65_535 }), placeholder: '<port>' },
    fallback: '8080',
    meaning: 'UDP port of the heartbeats, the same on all nodes; nodes of one machine share it.',
  }),
  discovery: setting({
    name: 'discovery',
    from: EVERYWHERE,
    env: ['MESH_DISCOVERY'],
    kind: onOff,
    fallback: 'on',
    meaning: 'Finding nodes by broadcast and multicast; without it only peers are dialled.',
  }),
  peers: setting({
    name: 'peers',
    from: EVERYWHERE,
    env: ['MESH_PEERS'],
    kind: words({ allowed: 'host or host:port', pattern: PEER }),
    fallback: '',
    meaning: 'Machines that get heartbeats though no broadcast reaches them.',
  }),
  linkHost: setting({
    name: 'link-host',
    from: EVERYWHERE,
    env: ['MESH_LINK_HOST'],
    kind: text({ allowed: 'an address of this machine', pattern: HOST }),
    fallback: '0.0.0.0',
    meaning: 'Address on which other nodes connect.',
  }),
  linkPort: setting({
    name: 'link-port',
    from: EVERYWHERE,
    env: ['MESH_LINK_PORT'],
    kind: port,
    fallback: '0',
    meaning: 'TCP port on which other nodes connect; 0 takes any free one, which peers are told.',
  }),
  heartbeatIntervalMs: setting({
    name: 'heartbeat-interval',
    from: EVERYWHERE,
    env: ['MESH_HEARTBEAT_INTERVAL', 'HEARTBEAT_INTERVAL'],
    kind: duration({ min: '100ms', max: '1h' }),
    fallback: '1s',
    meaning: 'Time between two heartbeats; longer in a mesh of more than 100 nodes.',
  }),
  peerTimeoutMs: setting({
    name: 'peer-timeout',
    from: EVERYWHERE,
    env: ['MESH_PEER_TIMEOUT', 'PEER_TIMEOUT'],
    kind: duration({ min: '1s', max: '30d' }),
    fallback: '30s',
    meaning: 'How long a dead node is still listed.',
  }),
  slots: setting({
    name: 'slots',
    from: EVERYWHERE,
    env: ['MESH_SLOTS', 'NODELINK_MAX_CONCURRENT_TASKS'],
    kind: integer({ min: 0, max: 4096 }),
    fallback: (around) => Math.max(1, around.cores),
    fallbackText: 'number of cores',
    meaning: 'Jobs this node runs at once; 0: it takes jobs and runs none.',
  }),
  taskTypes: setting({
    name: 'task-types',
    from: EVERYWHERE,
    env: ['MESH_TASK_TYPES'],
    kind: words({ allowed: 'task types', pattern: /^[a-z0-9][a-z0-9._-]{0,62}$/ }),
    fallback: 'all',
    meaning: 'Task types this node runs; all: those that this machine has the means for.',
  }),
  python: setting({
    name: 'python',
    from: EVERYWHERE,
    env: ['MESH_PYTHON'],
    kind: path,
    fallback: 'python3',
    meaning:
      'Interpreter of python jobs: a program of the PATH, or a path, as of a virtual environment.',
  }),
  httpAllowPrivate: setting({
    name: 'http-allow-private',
    from: EVERYWHERE,
    env: ['MESH_HTTP_ALLOW_PRIVATE'],
    kind: flagOnly,
    fallback: 'off',
    meaning: 'Lets http jobs ask loopback, private and link-local addresses from here.',
  }),
  dockerSocket: setting({
    name: 'docker-socket',
    from: EVERYWHERE,
    env: ['MESH_DOCKER_SOCKET', 'DOCKER_HOST'],
    kind: optional(socketPath),
    fallback: () => undefined,
    fallbackText: "Docker's or Podman's own, whichever is there",
    meaning: 'Unix socket of the container engine for docker jobs.',
  }),
  dockerMounts: setting({
    name: 'docker-mounts',
    from: EVERYWHERE,
    env: ['MESH_DOCKER_MOUNTS'],
    kind: paths({ ending: ':ro' }),
    fallback: '',
    meaning: 'Folders that docker jobs may mount, with all below them; with :ro for reading only.',
  }),
  labels: setting({
    name: 'labels',
    from: EVERYWHERE,
    env: ['MESH_LABELS'],
    kind: pairs({}),
    fallback: '',
    meaning: 'Marks of this node that jobs can ask for.',
  }),
  capabilities: setting({
    name: 'capabilities',
    from: EVERYWHERE,
    env: ['MESH_CAPABILITIES', 'CAPABILITIES'],
    kind: pairs({ lone: 'true' }),
    fallback: '',
    meaning: 'What this node has and jobs can require.',
  }),
  key: setting({
    name: 'key',
    from: [],
    env: ['MESH_KEY'],
    kind: optional(text({ allowed: 'a mesh key as `mesh key` prints it', pattern: /^\S+$/ })),
    fallback: () => undefined,
    fallbackText: 'from the key file',
    meaning: 'The mesh key itself (mesh1-…); only from the environment, since flags are public.',
    isSecret: true,
  }),
  keyFile: setting({
    name: 'key-file',
    from: EVERYWHERE,
    env: ['MESH_KEY_FILE'],
    kind: optional(path),
    fallback: () => undefined,
    fallbackText: 'mesh.key in config-dir, created when missing',
    meaning: 'File that holds the mesh key; only its owner may read it.',
  }),
  policyFile: setting({
    name: 'policy',
    from: EVERYWHERE,
    env: ['MESH_POLICY'],
    kind: optional(path),
    fallback: () => undefined,
    fallbackText: 'policy.yaml in config-dir, if there is one',
    meaning: 'File with rules for jobs: what is taken here, and what runs here.',
  }),
  open: setting({
    name: 'open',
    from: EVERYWHERE,
    env: ['MESH_OPEN'],
    kind: flagOnly,
    fallback: 'off',
    meaning: 'Lab without a secret: everybody on the network may join and run commands here.',
  }),
  defaultTimeoutMs: setting({
    name: 'default-timeout',
    from: EVERYWHERE,
    env: ['MESH_DEFAULT_TIMEOUT'],
    kind: duration({ min: '1s', max: '7d' }),
    fallback: '300s',
    meaning: 'Timeout of a job that names none.',
  }),
  killGraceMs: setting({
    name: 'kill-grace',
    from: EVERYWHERE,
    env: ['MESH_KILL_GRACE'],
    kind: duration({ min: '0s', max: '10m' }),
    fallback: '5s',
    meaning: 'Time between SIGTERM and SIGKILL for a job that is ended.',
  }),
  outputLimitBytes: setting({
    name: 'output-limit',
    from: EVERYWHERE,
    env: ['MESH_OUTPUT_LIMIT'],
    kind: size({ min: '1KiB', max: '1024GiB' }),
    fallback: '64MiB',
    meaning: 'Kept of each of stdout and stderr of an attempt; what is over is cut and marked.',
  }),
  outputRetentionMs: setting({
    name: 'output-retention',
    from: EVERYWHERE,
    env: ['MESH_OUTPUT_RETENTION'],
    kind: duration({ min: '1m', max: '3650d' }),
    fallback: '7d',
    meaning: 'How long outputs are kept after the end of an attempt, as long as its job is known.',
  }),
  outputSpaceBytes: setting({
    name: 'output-space',
    from: EVERYWHERE,
    env: ['MESH_OUTPUT_SPACE'],
    kind: size({ min: '1MiB', max: '1048576GiB' }),
    fallback: '10GiB',
    meaning: 'Kept of all outputs together; the oldest go first, and never those that are printed.',
  }),
  fileLimitBytes: setting({
    name: 'file-limit',
    from: EVERYWHERE,
    env: ['MESH_FILE_LIMIT'],
    kind: size({ min: '0b', max: '1024000GiB' }),
    fallback: '20GiB',
    meaning: 'Kept of input files and files that jobs leave, all together.',
  }),
  fileRetentionMs: setting({
    name: 'file-retention',
    from: EVERYWHERE,
    env: ['MESH_FILE_RETENTION'],
    kind: duration({ min: '1m', max: '3650d' }),
    fallback: '7d',
    meaning: 'How long a file that no job known here names is kept after its last use.',
  }),
  terminalIdleMs: setting({
    name: 'terminal-idle',
    from: EVERYWHERE,
    env: ['MESH_TERMINAL_IDLE'],
    kind: duration({ min: '1m', max: '7d' }),
    fallback: '1h',
    meaning: 'After so long without a key a terminal on this node (mesh run -it) is closed.',
  }),
  jobRetentionMs: setting({
    name: 'job-retention',
    from: EVERYWHERE,
    env: ['MESH_JOB_RETENTION'],
    kind: duration({ min: '1m', max: '3650d' }),
    fallback: '24h',
    meaning: 'How long a job, and with it its id or key, is known after its end.',
  }),
  drainTimeoutMs: setting({
    name: 'drain-timeout',
    from: EVERYWHERE,
    env: ['MESH_DRAIN_TIMEOUT'],
    kind: duration({ min: '0s', max: '1d' }),
    fallback: '30s',
    meaning: 'How long a stopping node lets its jobs finish before it hands them back.',
  }),
  queueLimit: setting({
    name: 'queue-limit',
    from: EVERYWHERE,
    env: ['MESH_QUEUE_LIMIT'],
    kind: integer({ min: 1, max: 10_000_000 }),
    fallback: '100000',
    meaning: 'Unfinished jobs this node takes before it answers 429.',
  }),
  bodyLimitBytes: setting({
    name: 'body-limit',
    from: EVERYWHERE,
    env: ['MESH_BODY_LIMIT'],
    kind: size({ min: '1KiB', max: '64MiB' }),
    fallback: '1MiB',
    meaning: 'Largest body of a request about one job.',
  }),
  bulkBodyLimitBytes: setting({
    name: 'bulk-body-limit',
    from: EVERYWHERE,
    env: ['MESH_BULK_BODY_LIMIT'],
    kind: size({ min: '1KiB', max: '256MiB' }),
    fallback: '16MiB',
    meaning: 'Largest body of a request with an array of jobs.',
  }),
  tasks: setting({
    name: 'tasks',
    from: EVERYWHERE,
    env: ['MESH_TASKS'],
    kind: files,
    fallback: '',
    fallbackText: 'none',
    meaning: 'TypeScript or JavaScript modules of own handlers; each task they export is served.',
  }),
  tasksWatch: setting({
    name: 'tasks-watch',
    from: EVERYWHERE,
    env: ['MESH_TASKS_WATCH'],
    kind: flagOnly,
    fallback: 'off',
    meaning: 'Load the modules of handlers again as soon as a source file beside them changes.',
  }),
  handlerMemoryBytes: setting({
    name: 'handler-memory',
    from: EVERYWHERE,
    env: ['MESH_HANDLER_MEMORY'],
    kind: size({ min: '16MiB', max: '1024GiB' }),
    fallback: '512MiB',
    meaning: "V8's heap in each process of handlers; one with half as much again in all is ended.",
  }),
  logLevel: setting({
    name: 'log-level',
    from: EVERYWHERE,
    env: ['MESH_LOG_LEVEL'],
    kind: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    fallback: 'info',
    meaning: 'Least severe messages that are logged.',
  }),
  logFormat: setting({
    name: 'log-format',
    from: EVERYWHERE,
    env: ['MESH_LOG_FORMAT'],
    kind: oneOf(['auto', 'pretty', 'json']),
    fallback: 'auto',
    meaning: 'auto is pretty on a terminal and JSON lines elsewhere.',
  }),
};

export type SettingKey = keyof typeof SETTINGS;

/** A hostname made to fit the rule for names. */
function nameFrom(hostname: string): string {
  const fitting = hostname.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return fitting.slice(0, 64) || 'node';
}
