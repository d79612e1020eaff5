#!/bin/sh
# Starts the bundle beside this file on a Node that is new enough: the PATH's, else the one that
# make has fetched into the checkout. `node --version` costs 5 ms, a script in it would cost 40.
# `mesh progress 40 half` inside a job is one line in a file, and needs no Node for it.
if [ "$1" = progress ] && [ -n "$MESH_PROGRESS" ] && [ $# -ge 2 ] && [ $# -le 3 ]; then
  case $2 in
    100 | [0-9] | [0-9][0-9])
      case $3 in
        *'
'* | -*) ;;
        *) printf '%s %s\n' "$2" "$3" >>"$MESH_PROGRESS" && exit 0 ;;
      esac
      ;;
  esac
fi
here=$(cd "$(dirname "$(readlink -f "$0" 2>/dev/null || echo "$0")")" && pwd)

is_new_enough() {
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version#v}
  major=${version%%.*}
  minor=${version#*.}
  minor=${minor%%.*}
  [ "$major" -gt 22 ] || { [ "$major" -eq 22 ] && [ "$minor" -ge 19 ]; }
}

for node in node "$here"/../.runtime/*/node_modules/node-*/bin/node; do
  if is_new_enough "$node"; then exec "$node" "$here/mesh.mjs" "$@"; fi
done
echo "mesh needs Node.js 22.19 or later, and there is none here: install one, or run make in the checkout, which fetches it." >&2
exit 1
