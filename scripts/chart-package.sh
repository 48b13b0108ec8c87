#!/usr/bin/env bash
# Packs the chart so that the same commit gives the same bytes, on whatever machine and day: chart-package.sh [FOLDER]
# `helm package` writes the time of day into the archive; its content is packed again with the commit's time.
set -euo pipefail
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
out=${1:-${CARGO_TARGET_DIR:-$root/target}/chart}
mkdir -p "$out"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
helm package "$root/helm/kantaloupe-agent" --destination "$work" >/dev/null
package=$(basename "$work"/*.tgz)
mkdir "$work/tree"
tar -xmzf "$work/$package" -C "$work/tree"
# Another umask must not change the modes.
chmod -R u=rwX,go=rX "$work/tree"
time=$(git -C "$root" log -1 --format=%ct -- helm)
tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=ustar -C "$work/tree" -cf - kantaloupe-agent | gzip -9n >"$out/$package"
echo "$out/$package $(sha256sum "$out/$package" | cut -d' ' -f1)"
