#!/usr/bin/env bash
# The agent's image from binaries built here, with the Dockerfile that users build from, and without any registry.
#   image.sh BINARY TAG ARCHIVE     BINARY: kantaloupe-agent for this machine's glibc. Result: localhost/kantaloupe-agent:TAG in ARCHIVE
# The base is put together once from the Debian packages that distroless/cc consists of too, and cached.
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,4p' "$0" >&2; exit 64; }
binary=$(realpath "$1") tag=$2 archive=$(realpath -m "$3")
repository=$(dirname "$(dirname "$(dirname "$(realpath "$0")")")")
testbed=${KANTALOUPE_CACHE:-$HOME/.cache/kantaloupe}/testbed
mkdir -p "$testbed" "$(dirname "$archive")"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
# A store of our own under the cache: the base's layers stay, and nothing mixes with the machine's images.
build() { buildah --root "$testbed/storage" --runroot "$testbed/storage/run" --storage-driver vfs "$@"; }
exec 9>"$testbed/.image.lock"; flock 9

base=localhost/kantaloupe-base:$(. /etc/os-release; echo "$VERSION_ID")
if ! build inspect --type image "$base" >/dev/null 2>&1; then
  echo "testbed: making the base image from Debian packages" >&2
  mkdir -p "$work"/{deb,root/usr/lib,root/etc/ssl/certs,root/home/nonroot,root/tmp}; chmod 1777 "$work/root/tmp" "$work/deb"
  cd "$work/deb"
  apt-get -qq download libc6 libgcc-s1 ca-certificates 2>/dev/null || { apt-get -qq update; apt-get -qq download libc6 libgcc-s1 ca-certificates; }
  for deb in *.deb; do dpkg-deb -x "$deb" "$work/unpacked"; done
  cd "$work/root"
  # Merged /usr, whichever way the packages of this Debian lay it out.
  for lib in lib lib64; do
    mkdir -p "usr/$lib"
    for from in "$work/unpacked/$lib" "$work/unpacked/usr/$lib"; do [ ! -d "$from" ] || [ -L "$from" ] || cp -a "$from/." "usr/$lib/"; done
    ln -s "usr/$lib" "$lib"
  done
  rm -rf usr/lib/*/gconv usr/lib/*/audit usr/lib/locale
  cat "$work"/unpacked/usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >etc/passwd
  printf 'root:x:0:\nnonroot:x:65532:\n' >etc/group
  printf 'hosts: files dns\n' >etc/nsswitch.conf
  chown 65532:65532 home/nonroot
  printf 'FROM scratch\nCOPY root /\nENV PATH=/usr/local/bin:/usr/bin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\nUSER 65532:65532\n' >"$work/Dockerfile"
  build bud --isolation chroot -q -t "$base" "$work" >/dev/null
fi

# The context holds the binary and the Dockerfile alone: the tree may be built or changed meanwhile.
mkdir -p "$work/context/dist"; cp "$repository/Dockerfile" "$work/context/"
cp "$binary" "$work/context/dist/kantaloupe-agent"; strip --strip-debug "$work/context/dist/kantaloupe-agent" 2>/dev/null || true
image=localhost/kantaloupe-agent:$tag
build bud --isolation chroot -q --build-arg BINARIES=prebuilt --build-arg "RUNTIME_IMAGE=$base" --target agent -t "$image" "$work/context" >/dev/null
build push -q "$image" "docker-archive:$archive.new:$image" >/dev/null
mv "$archive.new" "$archive"
build rmi -f "$image" >/dev/null 2>&1 || true
echo "$archive"
