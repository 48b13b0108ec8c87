#!/usr/bin/env bash
# make demo: a gateway on this machine, a cluster that connects to it, kubectl through the tunnel. Ctrl-C removes all of it.
#   KUBECONFIG=FILE         use that cluster instead of a test cluster made for the occasion
#   DEMO_ONCE=1             end after the proof instead of waiting for Ctrl-C
#   DEMO_GATEWAY_HOST=ADDR  address of this machine as the cluster's pods see it (only with KUBECONFIG; else found by the route to the node)
#   DEMO_IMAGE=REPO:TAG     an agent image that the cluster can pull (only with KUBECONFIG; else the image is built and loaded if the cluster is on this machine)
#   DEMO_PROFILE=observe    what people can do: observe, operate (the default) or admin
#   DEMO_PORT=8443          first port to try
#   DEMO_BINARIES=DIR       folder with kantaloupe-gateway and kantaloupe-agent instead of building them
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")
testbed=$root/tests/testbed
cache=${KANTALOUPE_CACHE:-$HOME/.cache/kantaloupe}/testbed
export PATH=$cache/bin:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$(dirname "$cache")/target}
cluster=demo # its name at the gateway
machine=demo-$$ # the test cluster's: several demos may run
namespace=kantaloupe-system
release=kantaloupe-agent
port=${DEMO_PORT:-8443}
profile=${DEMO_PROFILE:-operate}
given=${KUBECONFIG:-}
started=$SECONDS

bold="" plain=""; [ ! -t 1 ] || { bold=$'\033[1m' plain=$'\033[0m'; }
step() { printf '%s[%4d s]%s %s\n' "$bold" $((SECONDS - started)) "$plain" "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/kantaloupe-demo.XXXXXX"); chmod 700 "$work"
gateway_pid="" cluster_pid="" cluster_made="" released="" namespace_made="" loaded=()

cleanup() {
  local code=$?
  trap '' INT TERM; trap - EXIT; set +e
  step "removing all that the demo made"
  if [ -n "$given" ]; then
    [ -z "$released" ] || in_cluster helm uninstall "$release" --namespace "$namespace" >/dev/null 2>&1
    [ -z "$namespace_made" ] || in_cluster kubectl delete namespace "$namespace" --timeout=60s >/dev/null 2>&1
    [ ${#loaded[@]} -eq 0 ] || "${loaded[@]}" images rm "$image" >/dev/null 2>&1
  fi
  if [ -n "$gateway_pid" ]; then
    kill "$gateway_pid" 2>/dev/null
    for _ in $(seq 50); do kill -0 "$gateway_pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$gateway_pid" 2>/dev/null
  fi
  [ -z "$cluster_pid" ] || kill "$cluster_pid" 2>/dev/null
  [ -z "$cluster_made" ] || "$testbed/cluster.sh" down "$machine" "$work/cluster"
  rm -rf "$work"
  step "done"
  exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Commands for the cluster's administrator; a test cluster is reached from within its own network only.
inside=""
in_cluster() { if [ -n "$inside" ]; then "$testbed/cluster.sh" exec "$inside" "$@"; else KUBECONFIG=$given "$@"; fi; }

explain_failure() {
  printf '\n--- pods\n'; in_cluster kubectl -n "$namespace" get pods -o wide
  printf -- '--- events\n'; in_cluster kubectl -n "$namespace" get events --sort-by=.lastTimestamp | tail -8
  printf -- '--- agent\n'; in_cluster kubectl -n "$namespace" logs "deployment/$release" --tail=15
  printf -- '--- gateway\n'; tail -15 "$work/gateway.log"
} >&2 2>&1

prepare() {
  command -v cargo >/dev/null || [ -n "${DEMO_BINARIES:-}" ] || fail "cargo is missing: install Rust from https://rustup.rs"
  command -v go >/dev/null || [ -x "$cache/bin/helm" ] || fail "go is missing: install Go 1.24 or newer from https://go.dev/dl"
  if [ -z "$given" ]; then
    [ "$(id -u)" = 0 ] || fail "a test cluster needs root. As another user, give a cluster of your own: KUBECONFIG=... make demo"
    step "preparing the test cluster's programs (the first time about 10 minutes, then nothing)"
    "$testbed/prepare.sh"
    "$testbed/cluster.sh" sweep demo- # what a killed demo left
    step "starting a Kubernetes cluster in its own network; all connections into it are dropped"
    cluster_made=1
    "$testbed/cluster.sh" up "$machine" auto "$cache/bin" "$work/cluster" >"$work/cluster.log" 2>&1 &
    cluster_pid=$!
  else
    step "using the cluster of $given"
    "$testbed/prepare.sh" kubectl helm image-tools
  fi
}

build() {
  binaries=${DEMO_BINARIES:-}
  if [ -z "$binaries" ]; then
    step "building gateway and agent"
    (cd "$root" && cargo build --release --locked --quiet --package kantaloupe-gateway --package kantaloupe-agent)
    binaries=$CARGO_TARGET_DIR/release
  fi
  if [ -n "${DEMO_IMAGE:-}" ]; then
    image=$DEMO_IMAGE
  else
    image=localhost/kantaloupe-agent:demo-$(sha256sum "$binaries/kantaloupe-agent" | cut -c1-12)
    step "building the agent's image $image"
    "$testbed/image.sh" "$binaries/kantaloupe-agent" "${image##*:}" "$work/agent.tar" >/dev/null
  fi
}

own_cluster() {
  wait "$cluster_pid" || { cat "$work/cluster.log" >&2; fail "the test cluster did not come up"; }
  cluster_pid="" inside=$machine
  local index; index=$(head -1 "/run/kantaloupe-testbed/$machine")
  host=10.77.$index.1
  "$testbed/cluster.sh" import "$machine" "$work/cluster" "$work/agent.tar"
}

# Loads the image into a cluster whose nodes are on this machine.
load() {
  local context socket
  context=$(KUBECONFIG=$given kubectl config current-context 2>/dev/null || true)
  if [ -n "$inside" ]; then
    loaded=(ctr -a "$(sed -n 2p "/run/kantaloupe-testbed/$inside")/containerd/containerd.sock" -n k8s.io)
    "${loaded[@]}" images import "$work/agent.tar" >/dev/null; return
  elif [[ $context == kind-* ]] && command -v kind >/dev/null; then
    kind load image-archive "$work/agent.tar" --name "${context#kind-}" >/dev/null; return
  elif [ "$context" = minikube ] && command -v minikube >/dev/null; then
    minikube image load "$work/agent.tar" >/dev/null; return
  fi
  for socket in /run/k3s/containerd/containerd.sock /run/containerd/containerd.sock; do
    [ -S "$socket" ] && command -v ctr >/dev/null || continue
    loaded=(ctr -a "$socket" -n k8s.io)
    "${loaded[@]}" images import "$work/agent.tar" >/dev/null && return
  done
  fail "the agent's image cannot be loaded into this cluster from here. Push it to a registry that the cluster can pull from, e.g.
  buildah push docker-archive:... docker://registry.example.com/kantaloupe-agent:demo
and run: DEMO_IMAGE=registry.example.com/kantaloupe-agent:demo make demo"
}

given_cluster() {
  local server node name
  server=$(KUBECONFIG=$given kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}') || fail "KUBECONFIG=$given has no current context"
  for name in /run/kantaloupe-testbed/*; do # a test cluster: nothing outside can connect to it
    [ ! -f "$name" ] || [[ $server != "https://10.77.$(head -1 "$name").2:"* ]] || inside=${name##*/}
  done
  in_cluster kubectl version -o json >/dev/null 2>&1 || fail "the cluster of KUBECONFIG=$given ($server) does not answer"
  ! in_cluster helm status "$release" --namespace "$namespace" >/dev/null 2>&1 ||
    fail "this cluster has an agent already (helm release $release in $namespace); the demo does not touch it"
  in_cluster kubectl get namespace "$namespace" >/dev/null 2>&1 || namespace_made=1
  [ -n "${DEMO_IMAGE:-}" ] || load
  node=$(in_cluster kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  host=${DEMO_GATEWAY_HOST:-$(ip -4 route get "${node%% *}" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')}
  [ -n "$host" ] || fail "cannot tell under which address the cluster reaches this machine: set DEMO_GATEWAY_HOST"
}

start_gateway() {
  while (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; do port=$((port + 1)); done
  url=https://$host:$port
  step "starting the gateway on $url"
  # It ends with the demo even if that is killed.
  setpriv --pdeathsig TERM "$binaries/kantaloupe-gateway" serve --listen "0.0.0.0:$port" --admin-listen 127.0.0.1:0 --data-dir "$work/gateway" --public-url "$url" \
    --chart "$root/helm/kantaloupe-agent" --image "$image" --log-format text >"$work/gateway.log" 2>&1 &
  gateway_pid=$!
  for _ in $(seq 100); do
    [ -s "$work/gateway/admin-token" ] && curl -fsS --cacert "$work/gateway/tls.crt" "$url/healthz" >/dev/null 2>&1 && return
    kill -0 "$gateway_pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/gateway.log" >&2; fail "the gateway did not come up"
}

# api METHOD PATH [JSON]. The token goes through a pipe: arguments show in the process list.
api() {
  curl -sS --fail-with-body --max-time 20 --cacert "$work/gateway/tls.crt" -X "$1" "$url/api/v1$2" ${3:+-H "Content-Type: application/json" --data "$3"} \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$(<"$work/gateway/admin-token")") || fail "the gateway refused $1 $2"
}

install() {
  local command begun
  api POST /clusters "{\"name\":\"$cluster\",\"displayName\":\"Demo\",\"profile\":\"$profile\"}" >"$work/created.json"
  command=$(jq -r .enrollment.installCommand "$work/created.json")
  # The chart wants this consent from the cluster's side; no command of a gateway contains it.
  [ "$profile" != admin ] || command+=" --set access.admin.iUnderstand=true"
  step "installing the agent with the command that the gateway gave:"
  printf '\n  %s\n\n' "$command"
  released=1 begun=$(date +%s%N)
  in_cluster bash -c "$command" >"$work/helm.log" 2>&1 || { cat "$work/helm.log" >&2; explain_failure; fail "the installation failed"; }
  local returned; returned=$(date +%s%N)
  for _ in $(seq 300); do
    state=$(api GET "/clusters/$cluster" | jq -r '.cluster.state // .state')
    [ "$state" != connected ] || { step "connected: helm took $(((returned - begun) / 1000000)) ms, and $((($(date +%s%N) - returned) / 1000000)) ms later the gateway says so"; return; }
    sleep 0.1
  done
  explain_failure; fail "the cluster is $state 30 s after helm returned"
}

prove() {
  kubeconfig=$work/demo.kubeconfig
  (umask 077; api GET "/clusters/$cluster/kubeconfig" >"$kubeconfig")
  local kubectl=(kubectl --kubeconfig "$kubeconfig") part
  for part in "get nodes -o wide" "get pods --all-namespaces" "auth whoami"; do
    step "kubectl $part, through the tunnel:"
    # shellcheck disable=SC2086
    "${kubectl[@]}" $part | sed 's/^/  /' || { explain_failure; fail "kubectl $part failed"; }
  done
}

prepare
build
if [ -n "$given" ]; then given_cluster; else own_cluster; fi
start_gateway
install
prove
step "proof complete"
[ -z "${DEMO_ONCE:-}" ] || exit 0

cat <<T

Go on in another terminal:
  export KUBECONFIG=$kubeconfig PATH=$cache/bin:\$PATH
  kubectl -n $namespace logs -f deployment/$release
  kubectl auth can-i --list
T
[ -n "$given" ] || cat <<T
Another pod to play with (with the administrator's own access, from inside the cluster's network), then a shell in it through the tunnel:
  $testbed/cluster.sh exec $machine kubectl run shell --image=localhost/busybox:1 --image-pull-policy=Never
  kubectl exec -it shell -- sh
Cut the connection under that shell; it goes on:
  iptables -I INPUT -i kt$(head -1 "/run/kantaloupe-testbed/$machine") -p tcp --dport $port -j REJECT --reject-with tcp-reset; sleep 2
  iptables -D INPUT -i kt$(head -1 "/run/kantaloupe-testbed/$machine") -p tcp --dport $port -j REJECT --reject-with tcp-reset
T
cat <<T
The gateway's API:  curl --cacert $work/gateway/tls.crt -H "Authorization: Bearer \$(cat $work/gateway/admin-token)" $url/api/v1/clusters
Its log:            $work/gateway.log

Ctrl-C ends the demo and removes all of it.
T
trap 'exit 0' INT TERM
while kill -0 "$gateway_pid" 2>/dev/null; do sleep 1; done
tail -15 "$work/gateway.log" >&2; fail "the gateway has ended"
