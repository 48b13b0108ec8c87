#!/usr/bin/env bash
# Everything that the test clusters need, in ${KANTALOUPE_CACHE:-~/.cache/kantaloupe}/testbed: programs in bin/, images in images/.
#   prepare.sh            installs Debian packages and builds what is missing (cold about 17 minutes on 2 cores); under a second when all is there
#   prepare.sh helm ...   only the named ones: kubernetes kube-apiserver-1.36 kubectl kubectl-1.32 kubectl-1.20 etcd helm coredns sample-apiserver pause busybox,
#                         prometheus prometheus-debian victoria-metrics, bench-apiserver (what benchmarks measure against),
#                         oidc-provider (that people log in at in tests; npm, with node 20 or newer),
#                         and image-tools, faketime (Debian packages alone)
# Needs Go, network, and root if a Debian package is missing. Two callers at once build once.
set -euo pipefail

kubernetes_version=1.34.4
kubernetes_constrained_version=1.36.3 # the first minor release in which impersonation is constrained
kubectl_old_version=1.32.13 # speaks WebSocket first and SPDY as the fallback
etcd_version=3.6.16
helm_version=3.22.0
coredns_version=1.15.0
prometheus_version=3.16.0 prometheus_module=0.316.0
victoriametrics_version=1.151.0

here=$(dirname "$(realpath "$0")")
testbed=${KANTALOUPE_CACHE:-$HOME/.cache/kantaloupe}/testbed
bin=$testbed/bin images=$testbed/images
mkdir -p "$bin" "$images"

say() { printf 'testbed: %s\n' "$*" >&2; }

# A program is there if it was completely built from the wanted version.
have() { local stamp="" file=${3:-$bin/$1}; [ -x "$file" ] || [ -s "$file" ] || return 1; read -r stamp 2>/dev/null <"$testbed/.$1.stamp" || true; [ "$stamp" = "$2" ]; }
done_with() { echo "$2" >"$testbed/.$1.stamp"; }

packages() {
  local missing=() pair pairs=(openssl:openssl jq:jq curl:curl flock:util-linux tar:tar)
  case " ${wanted[*]} " in *" kubernetes "* | *" pause "* | *" busybox "* | *" image-tools "*) pairs+=(buildah:buildah strip:binutils) ;; esac
  case " ${wanted[*]} " in *" kubernetes "*) pairs+=(containerd:containerd ctr:containerd runc:runc iptables:iptables ip:iproute2 conntrack:conntrack nsenter:util-linux) ;; esac
  case " ${wanted[*]} " in *" oidc-provider "*) pairs+=(node:nodejs npm:npm) ;; esac
  # By command, not by package: Docker's containerd.io or a newer runc serve as well.
  for pair in "${pairs[@]}"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
  [[ " ${wanted[*]} " != *" kubernetes "* ]] || [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  [[ " ${wanted[*]} " != *" busybox "* ]] || [ -e /usr/share/doc/busybox-static ] || missing+=(busybox-static)
  [[ " ${wanted[*]} " != *" faketime "* ]] || compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" = 0 ] || { say "these Debian packages are missing, and only root can install them: ${missing[*]}"; exit 1; }
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -qq update && apt-get -qq -y install --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; exit 1; }
}

# module NAME "requires" PACKAGES...: a throw-away Go module that pins what it builds. `go install x@v` refuses modules with replacements.
module() {
  local name=$1 requires=$2; shift 2
  mkdir -p "$work/$name"; cd "$work/$name"
  printf 'module testbed/%s\ngo 1.24\n%s\n' "$name" "$requires" >go.mod
  { echo '//go:build tools'; echo 'package tools'; for p in "$@"; do echo "import _ \"$p\""; done; } >tools.go
}
tidy() { go mod tidy -e >"$work/tidy.log" 2>&1 || true; } # complains about test-only packages that do not exist; a real fault shows in the build
compile() { # compile OUT PACKAGE [LINKER FLAGS]
  local start=$SECONDS
  go build -trimpath -ldflags "-s -w ${3:-}" -o "$1.new" "$2" || { tail -5 "$work/tidy.log" >&2; return 1; }
  mv "$1.new" "$1"; say "built $(basename "$1") in $((SECONDS - start)) s"
}
stamp_flags() { echo "-X k8s.io/component-base/version.gitVersion=v$1 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$1")"; }

# kubernetes_module NAME VERSION PACKAGES...: k8s.io/kubernetes names its own staging modules v0.0.0, so each needs a replacement.
kubernetes_module() {
  local name=$1 version=$2 staging="" m; shift 2
  for m in api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap code-generator \
    component-base component-helpers controller-manager cri-api cri-client csi-translation-lib dynamic-resource-allocation endpointslice \
    externaljwt kms kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils \
    pod-security-admission sample-apiserver sample-cli-plugin sample-controller; do
    staging+="replace k8s.io/$m => k8s.io/$m v0.${version#1.}"$'\n'
  done
  module "$name" "require k8s.io/kubernetes v$version"$'\n'"$staging" "$@"
  tidy
}

kubernetes() {
  local commands=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy) c ready=1
  for c in "${commands[@]}"; do have "$c" "$kubernetes_version" || ready=0; done
  [ $ready = 1 ] && return
  kubernetes_module kubernetes "$kubernetes_version" "${commands[@]/#/k8s.io/kubernetes/cmd/}"
  for c in "${commands[@]}"; do
    have "$c" "$kubernetes_version" && continue
    compile "$bin/$c" "k8s.io/kubernetes/cmd/$c" "$(stamp_flags $kubernetes_version)"; done_with "$c" "$kubernetes_version"
  done
}

kubernetes_program() { # kubernetes_program NAME VERSION PACKAGE: one program alone
  have "$1" "$2" && return
  kubernetes_module "$1" "$2" "$3"
  compile "$bin/$1" "$3" "$(stamp_flags "$2")"; done_with "$1" "$2"
}
kubectl() { kubernetes_program kubectl "$kubernetes_version" k8s.io/kubernetes/cmd/kubectl; }
kubectl-1.32() { kubernetes_program kubectl-1.32 "$kubectl_old_version" k8s.io/kubernetes/cmd/kubectl; }
sample-apiserver() { kubernetes_program sample-apiserver "$kubernetes_version" k8s.io/sample-apiserver; } # the aggregated API of the tests
# The API server of the release from which on impersonation is constrained (KEP-5284).
kube-apiserver-1.36() { kubernetes_program kube-apiserver-1.36 "$kubernetes_constrained_version" k8s.io/kubernetes/cmd/kube-apiserver; }

# Debian 12's kubectl knows SPDY only. From the pool, so that any Debian can take it; kept beside the other, not installed.
kubectl-1.20() {
  local deb=kubernetes-client_1.20.5+really1.20.2-1.1+deb12u1_amd64.deb sha=087c42dc26c847740043cdaa8b16db666be5591a1da957f822922aa1b677494e
  have kubectl-1.20 "$sha" && return
  [ "$(dpkg --print-architecture)" = amd64 ] || { say "kubectl 1.20 is fetched for amd64 only"; return 1; }
  curl -fsSL --retry 3 -o "$work/kubectl.deb" "http://deb.debian.org/debian/pool/main/k/kubernetes/${deb//+/%2b}"
  sha256sum -c --quiet <<<"$sha  $work/kubectl.deb"
  dpkg-deb -x "$work/kubectl.deb" "$work/kubectl-deb"
  cp "$work/kubectl-deb/usr/bin/kubectl" "$bin/kubectl-1.20"; done_with kubectl-1.20 "$sha"; say "unpacked kubectl-1.20"
}

etcd() {
  have etcd "$etcd_version" && return
  module etcd "require go.etcd.io/etcd/server/v3 v$etcd_version" go.etcd.io/etcd/server/v3; tidy
  compile "$bin/etcd" go.etcd.io/etcd/server/v3; done_with etcd "$etcd_version"
}

helm() {
  have helm "$helm_version for $kubernetes_version" && return
  module helm "require helm.sh/helm/v3 v$helm_version" helm.sh/helm/v3/cmd/helm; tidy
  # Without a cluster (lint, template) Helm assumes the Kubernetes version it is told here, else 1.20.
  local flags="-X helm.sh/helm/v3/internal/version.version=v$helm_version" p
  for p in chartutil lint/rules; do
    flags+=" -X helm.sh/helm/v3/pkg/$p.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$p.k8sVersionMinor=$(cut -d. -f2 <<<"$kubernetes_version")"
  done
  compile "$bin/helm" helm.sh/helm/v3/cmd/helm "$flags"; done_with helm "$helm_version for $kubernetes_version"
}

coredns() { # only the plugins that the cluster uses: the full build takes over 2 minutes
  have coredns "$coredns_version" && return
  module coredns "require github.com/coredns/coredns v$coredns_version"
  cat >main.go <<'GO'
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func init() {
	dnsserver.Directives = []string{"bind", "errors", "health", "ready", "cache", "hosts", "kubernetes", "forward"}
}

func main() { coremain.Run() }
GO
  rm -f tools.go; tidy
  compile "$bin/coredns" .; done_with coredns "$coredns_version"
}

# archive NAME CONTEXT: builds CONTEXT/Dockerfile as localhost/NAME:1 and keeps it as images/NAME.tar. No registry is involved.
archive() {
  local store=$work/storage # own storage: nothing is left in, or taken from, the machine's
  buildah --root "$store" --runroot "$store/run" --storage-driver vfs bud --isolation chroot -q -t "localhost/$1:1" "$2" >/dev/null
  buildah --root "$store" --runroot "$store/run" --storage-driver vfs push -q "localhost/$1:1" "docker-archive:$images/$1.new:localhost/$1:1" >/dev/null
  mv "$images/$1.new" "$images/$1.tar"; say "made the image localhost/$1:1"
}

pause() { # what holds a pod's network namespace
  have pause 1 "$images/pause.tar" && return
  mkdir -p "$work/pause"; cd "$work/pause"
  cat >main.go <<'GO'
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
GO
  printf 'module testbed/pause\ngo 1.24\n' >go.mod; go build -trimpath -ldflags "-s -w" -o pause .
  printf 'FROM scratch\nCOPY pause /pause\nUSER 65532:65532\nENTRYPOINT ["/pause"]\n' >Dockerfile
  archive pause .; done_with pause 1
}

busybox() { # sh, tar and all the rest of busybox, as user 65532: passes the restricted pod security standard
  have busybox 1 "$images/busybox.tar" && return
  local root=$work/busybox/root source applet
  source=$(dpkg -L busybox-static | grep -m1 -E '/bin/busybox$')
  mkdir -p "$root"/{bin,etc,tmp,home/user}; chmod 1777 "$root/tmp"; chown 65532:65532 "$root/home/user"
  cp "$source" "$root/bin/busybox"
  for applet in $("$source" --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
  printf 'root:x:0:0:root:/:/bin/sh\nuser:x:65532:65532:user:/home/user:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nuser:x:65532:\n' >"$root/etc/group"
  printf 'FROM scratch\nCOPY root /\nENV PATH=/bin HOME=/home/user\nUSER 65532:65532\nWORKDIR /home/user\nCMD ["sleep","2147483647"]\n' >"$work/busybox/Dockerfile"
  archive busybox "$work/busybox"; done_with busybox 1
}

bench-apiserver() { # what stands for an API server in the benchmarks; its version is its source
  local version; version=$(cat "$here/../apiserver/"* | sha256sum | cut -d' ' -f1)
  have bench-apiserver "$version" && return
  cp -r "$here/../apiserver" "$work/apiserver"; cd "$work/apiserver"
  compile "$bin/bench-apiserver" .; done_with bench-apiserver "$version"
}

prometheus() { # with no service discovery but files and HTTP (the SDKs of all clouds take minutes), and without the web UI, which needs node
  have prometheus "$prometheus_version" && return
  module prometheus "require github.com/prometheus/prometheus v$prometheus_module" github.com/prometheus/prometheus/cmd/prometheus
  tidy
  GOFLAGS="$GOFLAGS -tags=remove_all_sd" compile "$bin/prometheus" github.com/prometheus/prometheus/cmd/prometheus \
    "-X github.com/prometheus/common/version.Version=$prometheus_version -X github.com/prometheus/common/version.Revision=testbed"
  done_with prometheus "$prometheus_version"
}

victoria-metrics() { # single node
  have victoria-metrics "$victoriametrics_version" && return
  module victoria-metrics "require github.com/VictoriaMetrics/VictoriaMetrics v$victoriametrics_version" github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics
  tidy
  compile "$bin/victoria-metrics" github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics \
    "-X github.com/VictoriaMetrics/VictoriaMetrics/lib/buildinfo.Version=victoria-metrics-20260101-000000-tags-v$victoriametrics_version-0-g0000000000"
  done_with victoria-metrics "$victoriametrics_version"
}

# Debian's Prometheus, unpacked and not installed: the package would start it as a service.
prometheus-debian() {
  local release; release=$(. /etc/os-release; echo "$ID $VERSION_ID")
  have prometheus-debian "$release" && return
  mkdir -p "$work/prometheus-debian"; cd "$work/prometheus-debian"
  # Without lists of packages, as in a fresh container, there is no candidate.
  apt-cache show prometheus >/dev/null 2>&1 || apt-get -qq update
  apt-get -qq -o APT::Sandbox::User=root download prometheus >/dev/null
  dpkg-deb -x prometheus_*.deb root
  cp root/usr/bin/prometheus "$bin/prometheus-debian"; done_with prometheus-debian "$release"; say "unpacked prometheus-debian"
}

oidc-provider() { # what people log in at in the tests; run from the repository, with its modules here
  local version; version=$(sha256sum <"$here/../oidc/package-lock.json" | cut -d' ' -f1)
  have oidc-provider "$version" "$testbed/oidc/node_modules/oidc-provider/package.json" && return
  [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || { say "node $(node --version) is too old for the OpenID Connect provider of the tests: 20 or newer"; return 1; }
  mkdir -p "$testbed/oidc"; cp "$here/../oidc/package.json" "$here/../oidc/package-lock.json" "$testbed/oidc/"; cd "$testbed/oidc"
  npm ci --ignore-scripts --no-audit --no-fund --silent
  done_with oidc-provider "$version"; say "installed oidc-provider"
}

image-tools() { :; }
faketime() { :; } # moves the clock of one process

all=(kubectl kubernetes kube-apiserver-1.36 etcd helm coredns kubectl-1.20 kubectl-1.32 prometheus prometheus-debian victoria-metrics sample-apiserver pause busybox oidc-provider image-tools faketime bench-apiserver)
wanted=("$@"); [ ${#wanted[@]} -gt 0 ] || wanted=("${all[@]}")
for name in "${wanted[@]}"; do
  [[ " ${all[*]} " == *" $name "* ]] || { say "unknown program $name; known: ${all[*]}"; exit 64; }
done

exec 9>"$testbed/.lock"
flock -n 9 || { say "another prepare.sh is at work; waiting for it"; flock 9; }
work=$(mktemp -d); trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
export CGO_ENABLED=0 GOFLAGS=-mod=mod
packages
for name in "${wanted[@]}"; do "$name"; done
