/**
 * The program of the supervisor: a shell, because a shell needs a megabyte and no start-up.
 * Written for dash, where `kill -KILL -- -N` fails and `read` has no time limit. Arguments: folder
 * of the life, folder of /proc, the node's process id and its start time.
 *
 * While the node runs something (`busy`) or is gone, it looks at all groups once a second, or when
 * the next lease is over; else it waits in `read`, at no cost, for a line or the end of the node.
 *
 * - A lease may be prolonged as it is being read: then it is read again a moment later.
 * - The leader of a group may be gone while its children live; its number cannot be given to
 *   another process as long as they do, so that is no reason to spare them. A group that has been
 *   ended is not touched again.
 * - A process inside a system call dies when that returns, and a group whose dead nobody has
 *   fetched looks alive to `kill` for ever: so it strikes again, but not for ever.
 * - What a job left in groups of their own is still in its session, which takes a walk through all
 *   processes: once for all that are due. What has left even that is in the job's cgroup, if it has
 *   one, and is ended last, when nobody of the session makes any more.
 * - The node sends SIGTERM 1 s before the end of a lease; this one comes a moment later, so that a
 *   job does not get two where the node is well.
 */
import { GROUP_SUFFIX } from './group-file.ts';
import { BUSY_FILE, DEATH_FILE, HOST_FILE, OPEN_FILE } from './life.ts';
import { START_TIME_FUNCTIONS } from './start-scripts.ts';

/** In hundredths of a second. */
const TERM_BEFORE = 95;
const LOOK_AGAIN = 10;
const MAX_PAUSE = 100;
const MAX_PAUSE_WITHOUT_LEASE = 500;
const MAX_STRIKES = 20;

const READ_STATE = `
clock() { now=''; read -r now rest <"$proc/uptime" && now=\${now%.*}\${now#*.}; }
pick() { state=\${1-} group=\${3-} session=\${4-} started=\${20-}; }
stat_of() {
  stat='' started=''
  read -r stat <"$1" || return 1
  pick \${stat##*) }
  [ -n "$started" ] || { stat=$(cat "$1"); pick \${stat##*) }; }
  [ -n "$started" ]
}
node_lives() {
  [ -e "$folder/${DEATH_FILE}" ] && return 1
  [ -e "$proc/self/stat" ] || return 0
  stat_of "$proc/$node/stat" && [ "$state" != Z ] && [ "$started" = "$node_started" ]
}
note_death() {
  died=''
  read -r died <"$folder/${DEATH_FILE}"
  case $died in ''|*[!0-9]*) died=\${now:-1}; echo "$died" >"$folder/${DEATH_FILE}";; esac
}
soon() { [ "$pause" -gt "$1" ] && pause=$1; }
is_same() {
  if stat_of "$proc/$id/stat"; then [ "$started" = "$listed" ]
  elif [ -e "$proc/self/stat" ]; then return 0
  else __mesh_ask "$id"; [ -z "$listed" ] || [ -z "$__mesh" ] || [ "$__mesh" = "$listed" ]; fi
}`;

const STRIKE = `
strike() { kill -s "$1" -- "-$id" || kill -s "$1" "$id"; }
sweep() {
  for each in "$proc"/[0-9]*/stat; do
    stat_of "$each" || continue
    case $2 in *" $session "*) [ "$group" = "$session" ] || kill -s "$1" -- "-$group";; esac
  done
}
is_cut() { case $cut in *" $number "*) return 0;; esac; return 1; }
cut() { is_cut || { cut="$cut$number "; [ -e "$file" ] && echo cut >>"$file"; }; }
over() { ended="$ended$number " some=$others; }
end_strays() {
  while read -r line; do
    case $line in 'limits '*) for cgroup in $line; do
      case $cgroup in /*)
        while read -r stray; do kill -s KILL "$stray"; done <"$cgroup/cgroup.procs";;
      esac
    done;; esac
  done <"$file"
}
end_now() {
  eval "strikes=\\\${strikes_$number:-0}"
  eval "strikes_$number=$((strikes + 1))"
  if [ "$strikes" -lt ${MAX_STRIKES} ] && is_same && strike KILL; then
    to_kill="$to_kill$id "
    soon ${LOOK_AGAIN}
  else
    end_strays
    over
  fi
}`;

const LOOK = `
look_at() {
  number=\${file##*/} number=\${number%${GROUP_SUFFIX}}
  case $number in *[!0-9]*) return;; esac
  case $ended in *" $number "*) return;; esac
  kind='' value='' again='' id='' listed=''
  { read -r kind value again; read -r id; read -r listed; } <"$file" || [ -e "$file" ] || return
  others=$some some=1
  case $id in ''|0|1|*[!0-9]*) soon ${LOOK_AGAIN}; return;; esac
  if [ -n "$died" ]; then
    last='' line=''
    while read -r line; do last=$line; done <"$file"
    case $last in
      refused) over; return;;
      exit\\ *) end_now; return;;
    esac
  fi
  case $value in ''|*[!0-9]*) soon ${LOOK_AGAIN}; return;; esac
  [ "$value" = "$again" ] || { soon ${LOOK_AGAIN}; return; }
  case $kind in
    U) ends=$value;;
    D) [ -n "$died" ] || return; ends=$((died + value));;
    P) [ -n "$died" ] || return; ends=0;;
    N) return;;
    *) soon ${LOOK_AGAIN}; return;;
  esac
  left=$((ends - now))
  has_lease=1
  if [ "$left" -le 0 ]; then
    cut
    end_now
  elif [ "$left" -le ${TERM_BEFORE} ]; then
    if ! is_cut && is_same; then
      cut
      strike TERM && to_term="$to_term$id "
      strike CONT
    fi
    soon "$left"
  else soon $((left - ${TERM_BEFORE})); fi
}
look() {
  pause=${MAX_PAUSE_WITHOUT_LEASE} some='' has_lease='' to_term=' ' to_kill=' '
  clock
  [ -n "$died" ] || node_lives || note_death
  now=\${now:-1}
  for file in "$folder"/*${GROUP_SUFFIX}; do look_at; done
  [ "$to_term" = ' ' ] || sweep TERM "$to_term"
  [ "$to_kill" = ' ' ] || sweep KILL "$to_kill"
  [ -n "$died" ] && [ -z "$has_lease" ] || soon ${MAX_PAUSE}
}`;

const MAIN = `
rest() {
  hundredths=$((pause % 100))
  [ $hundredths -ge 10 ] || hundredths=0$hundredths
  sleep $((pause / 100)).$hundredths
}
while [ -e "$folder/${HOST_FILE}" ]; do
  look
  if [ -n "$died" ]; then
    [ -n "$some" ] || { rm -f "$folder/${OPEN_FILE}"; look; [ -n "$some" ] || exit 0; }
    rest
  elif [ -e "$folder/${BUSY_FILE}" ] && [ -e "$proc/uptime" ]; then rest
  else read -r line || { clock; note_death; }; fi
done
`;

export const SUPERVISOR_SCRIPT = `${START_TIME_FUNCTIONS}
folder=$1 proc=$2 node=$3 node_started=$4 died='' ended=' ' cut=' '
trap '' INT HUP TERM QUIT PIPE
exec 2>/dev/null
${READ_STATE}${STRIKE}${LOOK}${MAIN}`;
