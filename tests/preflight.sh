#!/usr/bin/env bash
# Runs `kantaloupe-agent preflight` against a real API server: preflight.sh AGENT
# A sound platform (tests/fixtures, with the chart's roles for the agent) gives no code, and each fault of tests/faults.json gives
# its own and no other, each within 10 s. There are no controllers, so that what a status says stays as it is. Needs no root.
set -euo pipefail
agent=$(realpath "${1:?usage: preflight.sh AGENT}")
root=$(dirname "$(dirname "$(realpath "$0")")")
fixtures=$root/tests/fixtures
"$root/tests/testbed/prepare.sh" kubernetes kubectl etcd helm prometheus
export PATH=${KANTALOUPE_CACHE:-$HOME/.cache/kantaloupe}/testbed/bin:$PATH
work=$(mktemp -d); pids=()
cleanup() { [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$work"; }
trap cleanup EXIT
cd "$work"
fail() { echo "preflight: FAILED: $*" >&2; tail -n 5 "$work"/*.log >&2 || true; exit 1; }

# --- an API server
port() { local p; while :; do p=$((RANDOM % 20000 + 20000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo $p; return; }; done; }
etcd_port=$(port) peer_port=$(port) api_port=$(port) prometheus_port=$(port)
account=system:serviceaccount:kantaloupe-system:kantaloupe-agent
printf 'admin-token,admin,1,"system:masters"\nagent-token,%s,2,"system:serviceaccounts,system:serviceaccounts:kantaloupe-system"\n' $account >tokens.csv
openssl genrsa -out sa.key 2048 2>/dev/null
etcd --data-dir etcd --unsafe-no-fsync --log-level warn --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$peer_port" >etcd.log 2>&1 & pids+=($!)
kube-apiserver --etcd-servers="http://127.0.0.1:$etcd_port" --bind-address=127.0.0.1 --secure-port="$api_port" --cert-dir=certs --token-auth-file=tokens.csv \
  --authorization-mode=RBAC --service-cluster-ip-range=10.96.0.0/16 --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file=sa.key --service-account-signing-key-file=sa.key --disable-admission-plugins=ServiceAccount \
  >apiserver.log 2>&1 & pids+=($!)
kubeconfig() {
  printf '{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:%s","insecure-skip-tls-verify":true}}],"users":[{"name":"u","user":{"token":"%s"}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}' "$api_port" "$1"
}
kubeconfig admin-token >admin.kubeconfig; kubeconfig agent-token >agent.kubeconfig
k() { kubectl --kubeconfig admin.kubeconfig "$@"; }
for _ in $(seq 300); do k get --raw /readyz >/dev/null 2>&1 && break; sleep 0.2; done
k get --raw /readyz >/dev/null || fail "the API server did not come up"

# --- a Prometheus that has the metrics: of rules, so that no exporter is needed
printf '{global: {evaluation_interval: 1s}, rule_files: [rules.yaml]}\n' >prometheus.yaml
rules() { # LABEL METRIC...
  local label=$1; shift
  jq -n --arg name "$label" '{groups: [{name: "all", rules: [$ARGS.positional[] | {record: ., expr: "vector(42)", labels: {($name): "p4-node"}}]}]}' --args "$@" >rules.yaml
}
all=(DCGM_FI_DEV_GPU_UTIL HostCoreUtilization GPUDeviceCoreAllocated)
rules Hostname "${all[@]}"
prometheus --config.file=prometheus.yaml --storage.tsdb.path=tsdb --web.listen-address="127.0.0.1:$prometheus_port" --web.enable-lifecycle --log.level=warn >prometheus.log 2>&1 & pids+=($!)
series() { curl -fsS "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" 2>/dev/null | jq -r '.data.result | length'; }
until_series() { for _ in $(seq 100); do [ "$(series "$1")" != "$2" ] || return 0; sleep 0.2; done; fail "Prometheus does not have $2 series of $1"; }
measured() { # LABEL METRIC...: only these, from now on
  rules "$@"; shift
  curl -fsS -X POST "http://127.0.0.1:$prometheus_port/-/reload"
  for name in "${all[@]}"; do until_series "$name" "$(printf '%s\n' "$@" | grep -cx "$name" || true)"; done
}
for name in "${all[@]}"; do until_series "$name" 1; done

# --- minimal definitions
definition() { # GROUP VERSION KIND PLURAL SCOPE
  jq -n --arg group "$1" --arg version "$2" --arg kind "$3" --arg plural "$4" --arg scope "$5" '{apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition",
    metadata: {name: ($plural + "." + $group), annotations: {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/3328",
      "gateway.networking.k8s.io/bundle-version": "v1.4.1", "gateway.networking.k8s.io/channel": "standard"}},
    spec: {group: $group, scope: $scope, names: {kind: $kind, plural: $plural, singular: ($kind | ascii_downcase), listKind: ($kind + "List")},
      versions: [{name: $version, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}'
}
{
  definition nvidia.com v1 ClusterPolicy clusterpolicies Cluster
  definition nvidia.com v1alpha1 NVIDIADriver nvidiadrivers Cluster
  definition monitoring.coreos.com v1 Prometheus prometheuses Namespaced
  definition monitoring.coreos.com v1alpha1 PrometheusAgent prometheusagents Namespaced
  definition monitoring.coreos.com v1 ServiceMonitor servicemonitors Namespaced
  definition monitoring.coreos.com v1 PodMonitor podmonitors Namespaced
  definition gateway.networking.k8s.io v1 GatewayClass gatewayclasses Cluster
  definition gateway.networking.k8s.io v1 Gateway gateways Namespaced
} | k create -f - >/dev/null
for name in hami-system gpu-operator monitoring envoy-gateway-system kantaloupe-system; do k create namespace $name >/dev/null; done
k wait --for=condition=Established crd --all --timeout=30s >/dev/null
helm template kantaloupe-agent "$root/helm/kantaloupe-agent" --namespace kantaloupe-system --set controlPlane.url=https://gateway.example.com --show-only templates/rbac.yaml | k create -f - >/dev/null

# --- a sound platform
now() { date -u +%FT%T.000000Z; }
sound=(nodes/nvidia-p4-driver-550-144-03 nodes/nvidia-v210-json-l40s-stale-requesting-healthy platform/hami-install-v2.10.0 platform/hami-scheduler-device-configmap
  platform/hami-servicemonitors-kantaloupe platform/clusterpolicy-ready-servicemonitor-labelled platform/gpu-operator-deployment platform/gpu-operator-daemonsets
  platform/gpu-operator-dcgm-service-and-monitor platform/prometheus-selector-release platform/gatewayclass-envoy platform/gateway-programmed platform/nfs-storage)
for file in "${sound[@]}"; do cat "$fixtures/$file.json"; done | jq -c --arg now "$(now)" '(if .items then .items[] else . end)
  | del(.metadata.uid, .metadata.resourceVersion, .metadata.creationTimestamp, .metadata.generation)
  | if .kind == "MutatingWebhookConfiguration" then .webhooks[0].clientConfig.caBundle = "Y2E=" elif .kind == "Lease" then .spec.renewTime = $now else . end
  # The API server counts generations itself, from 1.
  | if .status.conditions then .status.conditions |= map(if .observedGeneration then .observedGeneration = 1 else . end) else . end
  | if .status.listeners then .status.listeners |= map(.conditions |= map(.observedGeneration = 1)) else . end' >sound.jsonl
echo '{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"nvidia"},"handler":"nvidia"}' >>sound.jsonl
put() { # one object, as it is, with its status
  local object=$1 kind name namespace
  kind=$(jq -r .kind <<<"$object") name=$(jq -r .metadata.name <<<"$object") namespace=$(jq -r '.metadata.namespace // "default"' <<<"$object")
  k -n "$namespace" delete "$kind" "$name" --ignore-not-found --wait=true --cascade=background >/dev/null
  k create -f - <<<"$object" >/dev/null
  [ "$(jq '.status != null and (.kind | IN("PersistentVolume") | not)' <<<"$object")" = false ] ||
    k -n "$namespace" patch "$kind" "$name" --subresource=status --type=merge -p "$(jq -c '{status}' <<<"$object")" >/dev/null
}
while read -r object; do put "$object"; done <sound.jsonl

# --- runs
printf 'controlPlane: {url: "https://gateway.example.com"}\nmonitoring: {url: "http://127.0.0.1:%s"}\n' "$prometheus_port" >agent.yaml
# Nothing listens at the Gateway's address here, and the way to a gateway is tested elsewhere.
preflight() { # prints the codes that failed or warned
  k -n hami-system patch lease hami-scheduler --type=merge -p "{\"spec\":{\"renewTime\":\"$(now)\"}}" >/dev/null 2>&1 || true
  local code=0 start=$EPOCHREALTIME
  KUBECONFIG=$work/agent.kubeconfig KUBERNETES_SERVICE_HOST=127.0.0.1 POD_NAME=kantaloupe-agent-0 POD_NAMESPACE=kantaloupe-system \
    "$agent" preflight --config agent.yaml --skip net,tls,time,ver,gw-003,sec -o json >report.json || code=$?
  took=$((${EPOCHREALTIME/./} / 1000 - ${start/./} / 1000))
  [ $took -lt 10000 ] || fail "a run took $took ms"
  [ "$code" = "$(jq 'if .summary.fail > 0 then 3 else 0 end' report.json)" ] || fail "exit code $code: $(cat report.json)"
  jq -r '[.checks[] | select(.result == "fail" or .result == "warn").code] | unique | join(" ")' report.json
}
took=0
found=$(preflight)
[ -z "$found" ] || fail "a sound platform gives $found: $(jq -c '.checks[] | select(.result == "fail" or .result == "warn")' report.json)"
echo "a sound platform gives no code: $(jq -c .summary report.json)"

wrong=0 slowest=0
check() { # NAME CODE
  local found; found=$(preflight)
  took=$(jq .durationMs report.json); [ "$took" -le $slowest ] || slowest=$took
  if [ "$found" = "$2" ]; then printf '%5d ms  %s  %s\n' "$took" "$2" "$1"; return; fi
  echo "WRONG  $1: wanted $2, found ${found:-none}: $(jq -c '[.checks[] | select(.result == "fail" or .result == "warn") | {code, message}]' report.json)"; wrong=$((wrong + 1))
}
original() { jq -c --argjson wanted "$1" 'select(.kind == $wanted.kind and .metadata.name == $wanted.name and .metadata.namespace == $wanted.namespace)' sound.jsonl; }
total=0
while read -r fault; do
  total=$((total + 1)); undo=()
  while read -r patch; do
    undo+=("$patch")
    status=(); [ "$(jq .status <<<"$patch")" != true ] || status=(--subresource=status)
    k -n "$(jq -r '.namespace // "default"' <<<"$patch")" patch "$(jq -r .kind <<<"$patch")" "$(jq -r .name <<<"$patch")" "${status[@]}" --type=merge -p "$(jq -c .merge <<<"$patch")" >/dev/null
  done < <(jq -c '.patch // [] | .[]' <<<"$fault")
  while read -r gone; do
    undo+=("$gone"); k -n "$(jq -r '.namespace // "default"' <<<"$gone")" delete "$(jq -r .kind <<<"$gone")" "$(jq -r .name <<<"$gone")" --cascade=background >/dev/null
  done < <(jq -c '.delete // [] | .[]' <<<"$fault")
  while read -r added; do put "$added"; done < <(jq -c '.add // [] | .[]' <<<"$fault")
  # What is not scraped has no samples.
  mapfile -t left < <(jq -r '$ARGS.positional - (.unscraped // []) | .[]' --args "${all[@]}" <<<"$fault")
  [ ${#left[@]} = ${#all[@]} ] || measured Hostname "${left[@]}"
  check "$(jq -r .name <<<"$fault")" "$(jq -r .code <<<"$fault")"
  [ ${#left[@]} = ${#all[@]} ] || measured Hostname "${all[@]}"
  for object in "${undo[@]}"; do put "$(original "$object")"; done
  while read -r added; do k delete -f - <<<"$added" >/dev/null; done < <(jq -c '.add // [] | .[]' <<<"$fault")
done < <(jq -c '.[]' "$root/tests/faults.json")

# What Prometheus lacks.
metrics() { # NAME CODE LABEL METRIC...
  measured "${@:3}"; check "$1" "$2"; total=$((total + 1))
}
metrics "Prometheus has no samples of DCGM" KTA-MON-004 Hostname HostCoreUtilization GPUDeviceCoreAllocated
metrics "Prometheus has no samples of HAMi's monitor" KTA-MON-005 Hostname DCGM_FI_DEV_GPU_UTIL GPUDeviceCoreAllocated
metrics "Prometheus has no samples of HAMi's scheduler" KTA-MON-006 Hostname DCGM_FI_DEV_GPU_UTIL HostCoreUtilization
metrics "DCGM's samples do not say which node they are of" KTA-HAMI-006 other "${all[@]}"
measured Hostname "${all[@]}"
kill -STOP "${pids[2]}"
check "Prometheus does not answer" KTA-MON-001
kill -CONT "${pids[2]}"
total=$((total + 1))

# A right that is missing: what it would have shown is unknown, and nothing else is wrong.
role=clusterrole/kantaloupe-system:kantaloupe-agent
k get $role -o json | jq '.rules |= map(select(.resources != ["daemonsets", "deployments"]))' | k replace -f - >/dev/null
check "the agent may not list DaemonSets and Deployments" KTA-K8S-004
[ "$(jq '[.checks[] | select(.result == "unknown" and .blockedBy == "KTA-K8S-004")] | length > 3' report.json)" = true ] || fail "what may not be read is not unknown"
k create clusterrolebinding too-much --clusterrole=cluster-admin --serviceaccount=kantaloupe-system:kantaloupe-agent >/dev/null
check "the agent is cluster-admin" KTA-K8S-004
kill "${pids[1]}"; wait "${pids[1]}" 2>/dev/null || true
check "the API server is away" KTA-K8S-001
total=$((total + 3))
[ $wrong -eq 0 ] || fail "$wrong of $total faults gave other codes"
echo "preflight: $total faults, each gave its code and no other; the slowest run took $slowest ms"
