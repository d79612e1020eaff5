/**
 * How a group begins: a few lines of shell that write its file (group-file.ts) and then become the
 * job (`exec`, same process). A node that wrote it after the fork could be killed in between.
 *
 * Where groups are supervised, those lines are a child of a runner (runners.ts), a shell that leads
 * the group, waits for the job and notes how it ended, because the node may not be there then. It
 * runs the job in the foreground: a shell without job control lets a background job ignore SIGINT
 * for ever. A session for each job would cost a program more per job (`setsid`), and as much time
 * as all the rest.
 *
 * Names are unusual because a job's own variable of the same name would be changed. Written for
 * dash: no fork in the usual case, nothing from PATH.
 */
import { OPEN_FILE } from './life.ts';

/** The exit code by which a group says that it could not list itself, and so ran nothing. */
export const NOT_LISTED_CODE = 253;
/** That it could not enter its folder, and so did not list itself. */
export const NO_FOLDER_CODE = 252;
/** That something of `begin` could not be done: the file says what, and the program did not start. */
export const UNABLE_CODE = 251;
/** That its output files could not be made. */
export const NO_OUTPUT_CODE = 250;

/** Finds the start time of a process; __mesh holds the result. */
export const START_TIME_FUNCTIONS = `
__mesh_pick() { __mesh=\${20-}; }
__mesh_join() { __mesh="$*"; }
__mesh_ask() { __mesh_join $(LC_ALL=C TZ=UTC0 /bin/ps -o lstart= -p "$1"); }
`;

/** `$$` is the leader, in its subshells, too. */
const LIST = `
__mesh_find_start() {
  if read -r __mesh <"$1/$$/stat"; then __mesh_pick \${__mesh##*) }
  else __mesh_ask "$$"; fi 2>/dev/null
  __mesh_start=$__mesh
}
__mesh_list() { printf '%s\\n' "$1" "$$" "$__mesh_start" "$2" "$3" "$4" end; }
`;

/**
 * For the lines that a job begins with. A limit that the system does not take may be above what
 * the node itself is held to: then the job is held to that.
 */
const BEGIN = `
__mesh_unable() { echo "unable $1" >&2; exit ${UNABLE_CODE}; }
__mesh_is_below() {
  case $1 in ''|*[!0-9]*) return 1;; esac
  [ "$1" -le "$2" ]
}
__mesh_limit() {
  ulimit "$1" "$2" 2>/dev/null || __mesh_is_below "$(ulimit -H "$1" 2>/dev/null)" "$2" ||
    __mesh_unable "$3"
}
__mesh_limit_processes() {
  # The letter is dash's; bash has -u for it, and refuses -p.
  ulimit -p "$1" 2>/dev/null || ulimit -u "$1" 2>/dev/null ||
    __mesh_is_below "$(ulimit -H -p 2>/dev/null)" "$1" || __mesh_unable processes
}
__mesh_join_group() { echo 0 >"$1/cgroup.procs" || __mesh_unable cgroup; }
`;

/**
 * Arguments: folder of the life, file, folder of /proc, those of `__mesh_list`, the lines it begins
 * with, then the program it becomes.
 */
export const PLAIN_SCRIPT = `${START_TIME_FUNCTIONS}${LIST}${BEGIN}
__mesh_find_start "$3"
{ __mesh_list "$4" "$5" "$6" "$7" >>"$1/$2" && [ -e "$1/${OPEN_FILE}" ]
} 2>/dev/null || exit ${NOT_LISTED_CODE}
if [ -n "$8" ]; then { eval "$8"; } 2>>"$1/$2"; fi
shift 8
exec "$@"
`;

/**
 * The first words to a runner. It is deaf to signals by a trap that does something, because only
 * such a trap ends with the subshell of a job.
 */
export const runnerPreamble = (procFolder: string): string =>
  `${START_TIME_FUNCTIONS}${LIST}${BEGIN}
trap : HUP INT QUIT TERM
__mesh_umask=$(umask)
umask 077
__mesh_find_start ${quoted(procFolder)}
__mesh_end() {
  __mesh_code=$1
  read -r __mesh __mesh_id <"$2/uptime"
  times >&2
  printf 'exit %s %s %s\\n' "$__mesh_code" "$__mesh" "$3" >&2
}
`;

/** What a group is listed with. */
export interface Entry {
  /** Of the life, and a file in it. */
  readonly folder: string;
  readonly name: string;
  readonly procFolder: string;
  /** As `leaseText` writes it. */
  readonly lease: string;
  readonly job: string;
  readonly fence: string;
  readonly startedAt: number;
}

const listArguments = (entry: Entry): string[] => [
  entry.lease,
  entry.job,
  entry.fence,
  String(entry.startedAt),
];

export const plainArguments = (entry: Entry, begin: string): string[] => [
  entry.folder,
  entry.name,
  entry.procFolder,
  ...listArguments(entry),
  begin,
];

export interface RunnerJob {
  readonly entry: Entry;
  /** Path of the program. */
  readonly env: string;
  /** File and arguments. */
  readonly program: readonly string[];
  /** Lines of shell for the process that becomes the program; what they say goes into its file. */
  readonly begin: string;
  readonly workingFolder: string;
  /** Paths of files that it appends to, and makes if they are not there. */
  readonly stdout: string;
  readonly stderr: string;
  /** Beside those of the runner. */
  readonly variables: Readonly<Record<string, string>>;
  /** Processor time of all earlier jobs of the runner. */
  readonly spentMs: number;
}

/**
 * A job as a runner reads it; the answer is what `times` says and a line with the exit code. Whatever the runner itself
 * says of its child goes into the group's file.
 */
export function runnerText(job: RunnerJob): string {
  const { entry, env, program, begin, workingFolder, stdout, stderr } = job;
  const { folder, name, procFolder } = entry;
  const named = Object.entries(job.variables).map(([key, value]) => ({ key, value }));
  const exported = named.filter(({ key }) => isPlainName(key));
  const given = named.filter(({ key }) => !isPlainName(key));
  const command = [
    ...(given.length > 0 ? [env, ...given.map(({ key, value }) => `${key}=${value}`)] : []),
    ...program,
  ];
  return `__mesh_code=${NO_OUTPUT_CODE}
{ { (
umask "$__mesh_umask"
cd -- ${quoted(workingFolder)} 2>/dev/null || exit ${NO_FOLDER_CODE}
unset OLDPWD
__mesh_list ${listArguments(entry).map(quoted).join(' ')} >&2 || exit ${NOT_LISTED_CODE}
[ -e ${quoted(`${folder}/${OPEN_FILE}`)} ] || { echo refused >&2; exit ${NOT_LISTED_CODE}; }
${begin}${exported.map(({ key, value }) => `export ${key}=${quoted(value)}\n`).join('')}exec ${command.map(quoted).join(' ')} 2>&3 3>&-
) </dev/null
__mesh_end $? ${quoted(procFolder)} ${job.spentMs}
} >>${quoted(stdout)} 3>>${quoted(stderr)}; } 2>>${quoted(`${folder}/${name}`)}
times
echo "$__mesh_code"
`;
}

export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** A shell would not take such a name, or do something with its value; the program env just sets it. */
const SPECIAL =
  /^(?:_|IFS|OPTIND|OPTARG|LINENO|PPID|E?UID|GROUPS|DIRSTACK|RANDOM|SECONDS|FUNCNAME|(?:OLD)?PWD|CDPATH|ENV|SHELLOPTS|BASH\w*|POSIXLY_CORRECT|PS\d|MAIL\w*|HIST\w*|LANG|LC_\w+|TEXTDOMAIN\w*)$/;

const isPlainName = (name: string): boolean =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !SPECIAL.test(name);
