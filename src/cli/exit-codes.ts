/** How the program ends; `mesh run` adds the exit codes of jobs, as other runners of commands do. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** Of `mesh run`: the job ran longer than it may. */
  timeout: 124,
  /** Of `mesh run`: the mesh failed, not the command. */
  mesh: 125,
  interrupted: 130,
  terminated: 143,
  /** Whoever read the output has gone (128 + SIGPIPE). */
  brokenPipe: 141,
} as const;
