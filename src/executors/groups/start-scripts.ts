/**
 * How a group begins: a few lines of shell that write its file (group-file.ts) and then become the
 * job (`exec`, same process). A node that wrote it after the fork could be killed in between.
 *
 * Where groups are supervised, those lines are a child of a small shell, the runner, that waits for
 * the job outside of its group and notes how it ended, because the node may not be there then. One
 * runner per attempt, a megabyte most of which all shells share. It runs the job in the foreground:
 * a shell without job control lets a background job ignore SIGINT for ever. What makes the session
 * is `setsid` of util-linux or busybox.
 *
 * Names are unusual because a job's own variable of the same name would be changed. Written for
 * dash: no fork in the usual case, nothing from PATH.
 */
import { OPEN_FILE } from './life.ts';

/** The exit code by which a group says that it could not list itself, and so ran nothing. */
export const NOT_LISTED_CODE = 253;

/** Finds the start time of a process; __mesh holds the result. */
export const START_TIME_FUNCTIONS = `
__mesh_pick() { __mesh=\${20-}; }
__mesh_join() { __mesh="$*"; }
__mesh_ask() { __mesh_join $(LC_ALL=C TZ=UTC0 /bin/ps -o lstart= -p "$1"); }
`;

/** Of the process that executes it; a subshell is one of its own, with another id than `$$`. */
const WHO_AM_I = `
  if read -r __mesh <"$3/self/stat"; then __mesh_id=\${__mesh%% *}; __mesh_pick \${__mesh##*) }
  else __mesh_id=$$; __mesh_ask "$$"; fi`;

const LIST = `printf '%s\\n' "$4" "$__mesh_id" "$__mesh" "$5" "$6" "$7" end`;

/** How many arguments stand before the program. */
const OWN_ARGUMENTS = 8;

/** Arguments: `startArguments`, then the program. The process becomes the job. */
export const PLAIN_SCRIPT = `${START_TIME_FUNCTIONS}
{ ${WHO_AM_I}
  ${LIST} >>"$1/$2" && [ -e "$1/${OPEN_FILE}" ]
} 2>/dev/null || exit ${NOT_LISTED_CODE}
shift ${OWN_ARGUMENTS}
exec "$@"
`;

/**
 * The same arguments. Whatever this shell itself says of its child goes into the file. It ignores
 * signals by a trap that does something, because only such a trap ends with the subshell.
 */
export const RUNNER_SCRIPT = `${START_TIME_FUNCTIONS}
trap : HUP INT QUIT TERM
exec 3>&2 2>>"$1/$2"
( { ${WHO_AM_I}
  } 2>/dev/null
  ${LIST} >&2 || exit ${NOT_LISTED_CODE}
  [ -e "$1/${OPEN_FILE}" ] || { echo refused >&2; exit ${NOT_LISTED_CODE}; }
  __mesh=$8
  shift ${OWN_ARGUMENTS}
  exec "$__mesh" "$@" 2>&3 3>&-
)
__mesh=$?
read -r __mesh_id __mesh_rest <"$3/uptime"
printf 'exit %s %s\\n' "$__mesh" "$__mesh_id" >&2
exit "$__mesh"
`;

export interface StartArguments {
  readonly folder: string;
  readonly name: string;
  readonly procFolder: string;
  /** As `leaseText` writes it. */
  readonly lease: string;
  readonly job: string;
  readonly fence: string;
  readonly startedAt: number;
  /** Path of the program; empty for the plain script. */
  readonly setsid: string;
}

export const startArguments = (start: StartArguments): string[] => [
  start.folder,
  start.name,
  start.procFolder,
  start.lease,
  start.job,
  start.fence,
  String(start.startedAt),
  start.setsid,
];
