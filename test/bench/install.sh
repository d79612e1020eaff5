#!/usr/bin/env bash
# What the bench compares the mesh with: packages of npm beside this file, and programs of Debian
# unpacked below .runtime/. Nothing is installed on the machine, so no server of a peer is left
# running or started at the next boot, and it takes no root. What can't be had is named by the rows
# that want it; nothing fails here.
set -u
cd "$(dirname "$0")"

mark=node_modules/.installed
if ! [ "$mark" -nt package-lock.json ]; then
  echo 'Installing the packages that the bench compares with …' >&2
  npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >&2 &&
    touch "$mark"
fi

runtime=$(cd ../.. && pwd)/.runtime/bench/debian
# On the PATH, where Debian hides servers, or unpacked here before.
has() {
  local place
  command -v "$1" >/dev/null && return
  for place in /usr/sbin /usr/lib/postgresql/*/bin "$runtime"/root/usr/{bin,sbin,lib/postgresql/*/bin}; do
    [ -x "$place/$1" ] && return
  done
  return 1
}
missing=()
has redis-server || missing+=(redis-server)
has initdb || missing+=(postgresql)
has nats-server || missing+=(nats-server)
has beanstalkd || missing+=(beanstalkd)
has gearmand || missing+=(gearman-job-server)
has gearman || missing+=(gearman-tools)
has parallel || missing+=(parallel)
has gcc || missing+=(gcc)
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "There is no apt-get here to fetch ${missing[*]} with: those rows say so." >&2
  exit 0
fi
echo "Fetching ${missing[*]} from Debian into .runtime/ …" >&2
mkdir -p "$runtime/archives/partial" "$runtime/root"
apt-get -o Dir::Cache::archives="$runtime/archives/" -o Debug::NoLocking=true \
  -o APT::Sandbox::User="$(id -un)" \
  install --download-only -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
  echo "Could not fetch ${missing[*]}; is the list of packages old (apt-get update)?" >&2
  exit 0
}
for package in "$runtime"/archives/*.deb; do
  [ -e "$package" ] && dpkg-deb -x "$package" "$runtime/root" && rm "$package"
done
exit 0
