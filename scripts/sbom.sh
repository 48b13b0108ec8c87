#!/usr/bin/env bash
# Software bill of materials of the two images, CycloneDX 1.5: sbom.sh [FOLDER]
# Writes kantaloupe-agent.cdx.json and kantaloupe-gateway.cdx.json (default folder target/sbom): every crate that is linked into the
# binary (with build scripts and procedural macros left out), its license and the checksum of Cargo.lock, what depends on what, and the
# base image. The same commit gives the same bytes. What is linked is what `cargo tree` says.
set -euo pipefail
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
out=${1:-${CARGO_TARGET_DIR:-$root/target}/sbom}
platform=${SBOM_PLATFORM:-x86_64-unknown-linux-gnu}
mkdir -p "$out"
cd "$root"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

cargo metadata --locked --format-version 1 --filter-platform "$platform" >"$work/metadata.json"
# name version checksum
awk '/^name = /{n=$3} /^version = /{v=$3} /^checksum = /{print n, v, $3}' Cargo.lock | tr -d '"' |
  jq -Rn '[inputs | split(" ") | {key: "\(.[0]) \(.[1])", value: .[2]}] | from_entries' >"$work/checksums.json"
base=$(sed -n 's/^ARG RUNTIME_IMAGE=//p' Dockerfile)
time=$(git log -1 --format=%cI)

for name in kantaloupe-agent kantaloupe-gateway; do
  # What is linked with the features of this program: `cargo metadata` knows only those of the whole workspace together.
  cargo tree --locked --target "$platform" -e normal,no-proc-macro --prefix none --no-dedupe -p "$name" --format '{p}' |
    awk '{print $1, substr($2, 2)}' | sort -u | jq -Rn '[inputs]' >"$work/linked.json"
  jq --arg name "$name" --arg base "$base" --arg time "$time" --slurpfile sums "$work/checksums.json" --slurpfile linked "$work/linked.json" '
    (.packages | map(. as $p | select($linked[0] | index("\($p.name) \($p.version)")) | {key: .id, value: .}) | from_entries) as $packages
    | def purl: "pkg:cargo/\(.name)@\(.version)";
      ($packages | map(select(.name == $name)) | first) as $main
    | {
        bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
        metadata: {timestamp: $time, component: {type: "application", "bom-ref": ($main | purl), name: $main.name, version: $main.version, purl: ($main | purl)}},
        components: ([$packages[] | select(.name != $name) | {
            type: "library", "bom-ref": purl, name, version, purl: purl,
            licenses: (if .license then [{expression: (.license | gsub("/"; " OR "))}] else [] end),
            hashes: ([$sums[0]["\(.name) \(.version)"] | select(.) | {alg: "SHA-256", content: .}])
          }] + [{type: "container", "bom-ref": $base, name: ($base | split(":")[0]), version: ($base | split(":")[1])}] | sort_by(."bom-ref")),
        dependencies: ([.resolve.nodes[] | select($packages[.id]) | {ref: ($packages[.id] | purl),
          dependsOn: ([.deps[] | select(any(.dep_kinds[]; .kind == null)) | $packages[.pkg] | select(.) | purl] | unique)}] | sort_by(.ref))
      }' "$work/metadata.json" >"$out/$name.cdx.json"
  # Everything that is linked is there once, with a license; every reference leads somewhere, and to everything leads one.
  jq -e --slurpfile linked "$work/linked.json" '
    ([.components[], .metadata.component | select(.purl) | "\(.name) \(.version)"] | sort) == ($linked[0] | sort)
    and ([.components[] | select(.type == "library" and (.licenses | length) == 0)] | length == 0)
    and (([.components[] | select(.type == "library")."bom-ref"] | unique) == ([.dependencies[].dependsOn[]] | unique))' "$out/$name.cdx.json" >/dev/null ||
    { echo "sbom: $name: the bill and cargo tree differ, or a license is missing" >&2; exit 1; }
  echo "sbom: $out/$name.cdx.json: $(jq '.components | length' "$out/$name.cdx.json") components"
done
