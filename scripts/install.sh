#!/usr/bin/env bash
# Installs what a build needs and is missing; says what it cannot install. Under a second when all is there.
#   install.sh [build] [go] [bench] [deny] [fuzz]
#     build   C compiler, cmake, git, curl, jq (Debian packages); checks that Rust is there
#     go      checks that Go is there: it builds Helm and the programs of the test clusters
#     bench   nginx, which the benchmarks compare with (Debian package)
#     deny    cargo-deny, kept in ${KANTALOUPE_CACHE:-~/.cache/kantaloupe}/bin
#     fuzz    cargo-fuzz, kept there too; checks that nightly Rust is there
# What test clusters need is installed by tests/testbed/prepare.sh.
set -euo pipefail

deny_version=0.20.2
fuzz_version=0.13.2

cache=${KANTALOUPE_CACHE:-$HOME/.cache/kantaloupe}

say() { printf 'install: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# packages WHAT:PACKAGE...: the packages of those programs and files that are missing.
packages() {
  local missing=() pair what
  for pair; do
    what=${pair%%:*}
    if [[ $what == /* ]]; then [ -e "$what" ]; else command -v "$what" >/dev/null; fi || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" = 0 ] || fail "these Debian packages are missing, and only root can install them: ${missing[*]}"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >/dev/null
  apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null
}

build() {
  packages cc:build-essential make:make cmake:cmake git:git curl:curl jq:jq /etc/ssl/certs/ca-certificates.crt:ca-certificates
  command -v cargo >/dev/null || fail "Rust is missing: https://rustup.rs"
  # rustup fetches the toolchain of rust-toolchain.toml by itself, and says what is wrong if it cannot.
  rustc --version >&2
}

# tool NAME VERSION FLAGS...: a cargo subcommand at a fixed version, built once.
tool() {
  local name=$1 version=$2; shift 2
  [ "$("$cache/bin/$name" --version 2>/dev/null | awk '{print $2}')" = "$version" ] && return
  say "building $name $version (minutes, once)"
  # Its own target folder: its dependencies are built otherwise than ours.
  CARGO_TARGET_DIR=$cache/tools-target cargo install --locked --quiet --root "$cache" "$@" "$name@$version"
  rm -rf "$cache/tools-target"
}

go() { type -P go >/dev/null || fail "Go is missing: https://go.dev/doc/install"; }

bench() { packages /usr/sbin/nginx:nginx-light; }

deny() { tool cargo-deny "$deny_version" --no-default-features; }

fuzz() {
  cargo +nightly --version >/dev/null 2>&1 || fail "nightly Rust is missing: rustup toolchain install nightly"
  tool cargo-fuzz "$fuzz_version"
}

wanted=("$@"); [ ${#wanted[@]} -gt 0 ] || wanted=(build)
cd "$(dirname "$(dirname "$(realpath "$0")")")"
for what in "${wanted[@]}"; do
  case $what in build | go | bench | deny | fuzz) "$what" ;; *) sed -n '2,9p' "$0" >&2; exit 64 ;; esac
done
