#!/usr/bin/env bash
# A real one-node Kubernetes in its own network namespace, several at once. Needs root on Linux and what prepare.sh makes.
#   cluster.sh up NAME INDEX BIN_DIR STATE_DIR [CONTROLLERS]
#                                                ready in about 10 s; admin kubeconfig: STATE_DIR/admin.kubeconfig. INDEX 1-254 or "auto";
#                                                CONTROLLERS as kube-controller-manager --controllers, "*" by default
#   cluster.sh down NAME [STATE_DIR]             also what a crash left of it
#   cluster.sh exec NAME COMMAND...              runs inside the cluster's network, with its kubectl, helm and admin kubeconfig
#   cluster.sh import NAME STATE_DIR ARCHIVE...  loads image archives (docker-archive)
#   cluster.sh aggregate NAME                    adds an aggregated API: wardle.example.com (flunders, fischers)
#   cluster.sh compact NAME                      drops the history of all objects and restarts the API server: an old watch gets 410
#   cluster.sh list                              what is up
#   cluster.sh sweep [PREFIX]                    takes down clusters (whose name starts so) whose starter has died
#
# The namespace is kt-NAME; outside 10.77.INDEX.1 <-> inside 10.77.INDEX.2 (API server :6443, kubelet :10250, DNS :53).
# The outside plays the cloud: pods reach it, also as gateway.kantaloupe.test. Nothing outside can open a connection to the cluster:
# so the admin kubeconfig works only inside ("exec").
# Logs: STATE_DIR/log/*.log; STATE_DIR/log/audit.jsonl says who did what, and whom they impersonated.
set -euo pipefail

registry=/run/kantaloupe-testbed # NAME -> index, state folder, program folder, starter's process id
controller_flags=(--leader-elect=false --use-service-account-credentials=true)

fail() { echo "testbed: $*" >&2; exit 1; }
field() { sed -n "$2p" "$registry/$1" 2>/dev/null || true; }
inside() { nsenter --net="/run/netns/$ns" "$@"; }
# nsenter, not `ip netns exec`: that one remounts /sys and hides the cgroup mounts from the kubelet.
# 9>&-: a daemon must not hold the caller's lock.
start() { local n=$1; shift; nohup nsenter --net="/run/netns/$ns" "$@" >"log/$n.log" 2>&1 </dev/null 9>&- & }
await() {
  local what=$1; shift
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  fail "$what did not come up; see $dir/log. Last lines:"$'\n'"$(tail -qn2 log/*.log 2>/dev/null)"
}

# Takes an index for NAME; two clusters never share one.
claim() {
  mkdir -p "$registry"
  exec 8>"$registry/.lock"; flock 8
  [ ! -e "$registry/$name" ] || fail "cluster $name is up already (or was left by a crash): run down $name first"
  if [ "$index" = auto ]; then
    for index in $(seq 10 254); do ip link show "kt$index" >/dev/null 2>&1 || { [ -z "$(grep -lx "$index" "$registry"/* 2>/dev/null)" ] && break; }; done
  else
    ! ip link show "kt$index" >/dev/null 2>&1 || fail "the index $index is in use by another cluster"
  fi
  printf '%s\n' "$index" "$dir" "$bin" "${KANTALOUPE_TESTBED_OWNER:-$PPID}" >"$registry/$name"
  exec 8>&-
}

network() {
  local family
  ip netns add "$ns"; ip link add "kt$index" type veth peer name eth0 netns "$ns"
  # IPv4 only: a link-local IPv6 address would be a second way in.
  ip link set "kt$index" addrgenmode none; ip -n "$ns" link set eth0 addrgenmode none
  ip addr add "$outside/24" dev "kt$index"; ip link set "kt$index" up
  ip -n "$ns" addr add "$node/24" dev eth0; ip -n "$ns" link set eth0 up; ip -n "$ns" link set lo up
  ip -n "$ns" route add default via "$outside"
  for family in iptables ip6tables; do
    # In mangle, before the filter table where kube-proxy and the CNI plugin put accepting rules.
    inside "$family" -w -t mangle -A INPUT -i eth0 -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP
    inside "$family" -w -t mangle -A FORWARD -i eth0 -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP
  done
}

certificates() {
  local san="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,DNS:node1,IP:127.0.0.1,IP:10.96.0.1,IP:$node"
  local ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes) user
  openssl req -x509 "${ec[@]}" -keyout pki/ca.key -out pki/ca.crt -days 30 -subj "/CN=testbed-ca" 2>/dev/null
  cert() {
    openssl req "${ec[@]}" -keyout "pki/$1.key" -out "pki/$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -out "pki/$1.crt" -days 30 \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$san") 2>/dev/null
  }
  cert apiserver /CN=kube-apiserver; cert front-proxy /CN=front-proxy
  cert admin /O=system:masters/CN=admin; cert kubelet /O=system:nodes/CN=system:node:node1
  cert controller /CN=system:kube-controller-manager; cert scheduler /CN=system:kube-scheduler
  openssl genrsa -out pki/sa.key 2048 2>/dev/null; openssl rsa -in pki/sa.key -pubout -out pki/sa.pub 2>/dev/null
  for user in admin kubelet controller scheduler; do
    cat >"$user.kubeconfig" <<T
{"apiVersion":"v1","kind":"Config","current-context":"$name",
"clusters":[{"name":"$name","cluster":{"server":"https://$node:6443","certificate-authority-data":"$(base64 -w0 pki/ca.crt)"}}],
"users":[{"name":"$user","user":{"client-certificate-data":"$(base64 -w0 pki/$user.crt)","client-key-data":"$(base64 -w0 pki/$user.key)"}}],
"contexts":[{"name":"$name","context":{"cluster":"$name","user":"$user"}}]}
T
    chmod 600 "$user.kubeconfig"
  done
}

api_server() {
  cat >audit-policy.yaml <<T
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
T
  start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=10.96.0.0/16 \
    --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$node" --allow-privileged=true --authorization-mode=Node,RBAC \
    --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
    --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key --kubelet-certificate-authority=pki/ca.crt \
    --kubelet-preferred-address-types=InternalIP --enable-aggregator-routing=true \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=pki/sa.pub --service-account-signing-key-file=pki/sa.key \
    --requestheader-client-ca-file=pki/ca.crt --requestheader-allowed-names=front-proxy --requestheader-username-headers=X-Remote-User \
    --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file=pki/front-proxy.crt --proxy-client-key-file=pki/front-proxy.key \
    --audit-policy-file=audit-policy.yaml --audit-log-path="$dir/log/audit.jsonl"
}

runtime() {
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE (many VMs and containers) runc fails with "can't get final child's PID from pipe: EOF".
  cat >containerd/config.toml <<T
version = 2
root = "$dir/containerd/root"
state = "$dir/containerd/state"
[grpc]
  address = "$dir/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
T
  cat >cni/10-bridge.conflist <<T
{"cniVersion":"0.4.0","name":"testbed","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
"ipam":{"type":"host-local","dataDir":"$dir/cni/ipam","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},{"type":"portmap","capabilities":{"portMappings":true}}]}
T
  start containerd containerd -c containerd/config.toml
}

node() {
  cat >kubelet/config.yaml <<T
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /$ns
podLogsDir: $dir/log/pods
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix://$dir/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $dir/pki/kubelet.crt
tlsPrivateKeyFile: $dir/pki/kubelet.key
clusterDNS: ["$node"]
clusterDomain: cluster.local
resolvConf: ""
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: "1%", imagefs.available: "1%"}
T
  # Logs of its own, too: a kubelet removes the logs of pods it does not know.
  # A cgroup root of its own: a kubelet kills the processes of pod cgroups it does not know, so two kubelets must not share one.
  local controller
  for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [ -e "$controller/cgroup.procs" ] || continue
    [ "$controller" = /sys/fs/cgroup ] || [ ! -e /sys/fs/cgroup/cgroup.controllers ] || continue # v2: one hierarchy
    mkdir -p "$controller/$ns"
    [ -e "$controller/cpuset.cpus" ] && [ ! -e /sys/fs/cgroup/cgroup.controllers ] &&
      cat "$controller/cpuset.cpus" >"$controller/$ns/cpuset.cpus" && cat "$controller/cpuset.mems" >"$controller/$ns/cpuset.mems" || true
  done
  start kubelet kubelet --config kubelet/config.yaml --kubeconfig kubelet.kubeconfig --hostname-override=node1 --node-ip="$node" --root-dir="$dir/kubelet/root"
}

dns() {
  cat >Corefile <<T
.:53 {
  bind $node
  errors
  hosts {
    $outside gateway.kantaloupe.test
    fallthrough
  }
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $dir/admin.kubeconfig
  }
  cache 5
}
T
  start coredns coredns -conf Corefile
}

up() {
  [ $# -eq 4 ] || [ $# -eq 5 ] || fail "usage: cluster.sh up NAME INDEX BIN_DIR STATE_DIR [CONTROLLERS]"
  name=$1 index=$2 bin=$(realpath "$3") dir=$(realpath -m "$4") ns=kt-$1 controllers=${5:-*}
  [ -x "$bin/kube-apiserver" ] && [ -e "$bin/../images/pause.tar" ] || fail "$bin does not hold all programs: run prepare.sh first"
  [ ! -d "$dir" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir exists: run down first"
  claim
  outside=10.77.$index.1 node=10.77.$index.2
  export PATH=$bin:$PATH; mkdir -p "$dir"/{pki,log,cni,kubelet,containerd}; cd "$dir"; umask 022
  export KUBECONFIG=$dir/admin.kubeconfig

  network; runtime; certificates
  start etcd etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn
  api_server
  await containerd ctr -a containerd/containerd.sock version
  local archive
  for archive in "$bin"/../images/*.tar; do import "$name" "$dir" "$archive"; done
  await "the API server" inside kubectl get --raw /readyz
  start controller kube-controller-manager --kubeconfig=controller.kubeconfig "${controller_flags[@]}" --controllers="$controllers" \
    --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key
  start scheduler kube-scheduler --kubeconfig=scheduler.kubeconfig --leader-elect=false
  node
  start kube-proxy kube-proxy --kubeconfig=admin.kubeconfig --hostname-override=node1 --cluster-cidr=10.244.0.0/16 --proxy-mode=iptables \
    --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
  dns
  await "DNS" inside bash -c "exec 3<>/dev/tcp/$node/53"
  await "the default service account" inside kubectl get serviceaccount default
  await "the node" inside kubectl wait --for=condition=Ready node/node1 --timeout=1s
}

import() {
  local name=$1 dir archive; dir=$(realpath "$2"); shift 2
  for archive in "$@"; do ctr -a "$dir/containerd/containerd.sock" -n k8s.io images import "$archive" >/dev/null; done
}

execute() {
  local name=$1 dir; ns=kt-$name; shift
  [ -e "/run/netns/$ns" ] || fail "there is no cluster $name"
  dir=$(field "$name" 2) PATH=$(field "$name" 3):$PATH KUBECONFIG=$dir/admin.kubeconfig; export PATH KUBECONFIG
  exec nsenter --net="/run/netns/$ns" "$@"
}

# The sample API server of Kubernetes, registered as the API group wardle.example.com.
aggregate() {
  name=$1 ns=kt-$1 dir=$(field "$1" 2); local node; node=10.77.$(field "$name" 1).2
  [ -n "$dir" ] || fail "there is no cluster $name"
  PATH=$(field "$name" 3):$PATH KUBECONFIG=$dir/admin.kubeconfig; export PATH KUBECONFIG; cd "$dir"
  start sample-apiserver sample-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=7443 \
    --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key \
    --kubeconfig=admin.kubeconfig --authentication-kubeconfig=admin.kubeconfig --authorization-kubeconfig=admin.kubeconfig
  inside kubectl apply -f - >/dev/null <<T
apiVersion: v1
kind: Service
metadata: {name: wardle, namespace: kube-system}
spec: {ports: [{port: 443, targetPort: 7443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: wardle-1, namespace: kube-system, labels: {kubernetes.io/service-name: wardle}}
addressType: IPv4
ports: [{port: 7443, protocol: TCP}]
endpoints: [{addresses: ["$node"], conditions: {ready: true}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1alpha1.wardle.example.com}
spec:
  group: wardle.example.com
  version: v1alpha1
  groupPriorityMinimum: 1000
  versionPriority: 15
  insecureSkipTLSVerify: true
  service: {name: wardle, namespace: kube-system}
T
  await "the aggregated API" inside kubectl get flunders.wardle.example.com
}

compact() {
  name=$1 ns=kt-$1 dir=$(field "$1" 2); local node revision; node=10.77.$(field "$name" 1).2
  [ -n "$dir" ] || fail "there is no cluster $name"
  PATH=$(field "$name" 3):$PATH KUBECONFIG=$dir/admin.kubeconfig; export PATH KUBECONFIG; cd "$dir"
  revision=$(inside kubectl get --raw '/api/v1/namespaces?limit=1' | sed 's/.*"resourceVersion":"\([0-9]*\)".*/\1/;q')
  inside curl -fsS http://127.0.0.1:2379/v3/kv/compaction -d "{\"revision\": \"$revision\", \"physical\": true}" >/dev/null
  pkill -9 -f "^kube-apiserver .*$dir/" || true
  api_server
  await "the API server" inside kubectl get --raw /readyz
}

# By namespace and cgroup, not by remembered process ids: those may be another program's by now.
members() {
  ip netns pids "$ns" 2>/dev/null || true
  find /sys/fs/cgroup -path "*/$ns/*" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

down() {
  name=$1 ns=kt-$1; local index dir pod pid pids cgroup
  index=$(field "$name" 1) dir=${2:-$(field "$name" 2)}
  # Every program of a cluster runs in its state folder.
  [ -n "$dir" ] || dir=$(for pid in $(ip netns pids "$ns" 2>/dev/null); do readlink "/proc/$pid/cwd"; done | grep -vx / | sort | uniq -c | sort -rn | awk 'NR==1 {print $2}') || true
  [ -n "$index" ] || index=$(ip -n "$ns" -o -4 addr show eth0 2>/dev/null | sed -n 's/.* 10\.77\.\([0-9]*\)\.2\/.*/\1/p') || true
  for _ in $(seq 50); do # new ones appear until the kubelet and containerd are gone
    pids=$(members); [ -n "$pids" ] || break
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true; sleep 0.1
  done
  if [ -n "$dir" ] && [ -d "$dir" ]; then
    dir=$(realpath "$dir")
    # The pods' network namespaces outlive their processes.
    for pod in $(grep -ohs '/run/netns/cni-[0-9a-f-]*' -r "$dir/containerd/state" --include=config.json | sort -u); do
      umount -l "$pod" 2>/dev/null || true; rm -f "$pod"
    done
    grep -oE " $dir/[^ ]*" /proc/mounts | sort -r | xargs -r -n1 umount -l || true
    rm -rf "$dir"
  fi
  # Explicitly: a process that still holds the namespace would keep the link.
  [ -z "$index" ] || ip link del "kt$index" 2>/dev/null || true
  ip netns del "$ns" 2>/dev/null || true
  for cgroup in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [ ! -d "$cgroup/$ns" ] || find "$cgroup/$ns" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
  rm -f "$registry/$name"
}

list() {
  local entry
  for entry in "$registry"/*; do
    [ ! -e "$entry" ] || { read -r index <"$entry"; printf '%s\t%s\t%s\n' "${entry##*/}" "$index" "$(field "${entry##*/}" 2)"; }
  done
}

sweep() {
  local entry owner
  for entry in "$registry/${1:-}"*; do
    [ -e "$entry" ] || continue
    owner=$(sed -n 4p "$entry")
    [ -n "$owner" ] && [ "$owner" != 1 ] && kill -0 "$owner" 2>/dev/null || { echo "testbed: taking down ${entry##*/}" >&2; down "${entry##*/}"; }
  done
}

action=${1:-}; [ $# -eq 0 ] || shift
case $action in
  up | down | import | aggregate | compact | list | sweep) "$action" "$@" ;;
  exec) execute "$@" ;;
  *) sed -n '2,12p' "$0" >&2; exit 64 ;;
esac
