#!/usr/bin/env bash
# Checks the chart helm/kantaloupe-agent: chart.sh [CLUSTER]
# Without a cluster: lint, schema, texts, roles and pod security by inspection (seconds, no root). With the name of a running testbed
# cluster also against its API server: admission under the restricted standard, upgrade, rights of each role.
# UPDATE=1 rewrites the snapshots of the roles.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")
testbed=$root/tests/testbed
chart=$root/helm/kantaloupe-agent
bin=${KANTALOUPE_CACHE:-$HOME/.cache/kantaloupe}/testbed/bin
export PATH=$bin:$PATH
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

fail() { echo "chart: FAILED: $*" >&2; exit 1; }
pass() { echo >>"$work/checks"; } # a file: many checks end a pipeline, in a subshell
template() { helm template kantaloupe-agent "$chart" --namespace kantaloupe-system "$@"; }
# YAML documents as one JSON array. A chart of our own converts them, so that no other tool is needed.
mkdir -p "$work/convert/templates"
printf 'apiVersion: v2\nname: convert\nversion: 0.0.0\n' >"$work/convert/Chart.yaml"
printf '{{- range splitList "\\n---\\n" .Values.text }}\n{{ fromYaml . | toJson }}\n{{- end }}\n' >"$work/convert/templates/all.yaml"
to_json() {
  local text; text=$(mktemp "$work/XXXXXX"); cat >"$text"
  helm template convert "$work/convert" --set-file text="$text" | grep '^{' | jq -s 'map(select(. != {}))'
}
# expect WHAT JQ: the assertion holds for the objects on standard input.
expect() { jq -e "$2" >/dev/null || fail "$1"; pass; }
# refuses WHAT "PATTERN"... -- ARGUMENTS: rendering fails, and the message matches each pattern.
refuses() {
  local what=$1 patterns=() pattern output; shift
  while [ "$1" != -- ]; do patterns+=("$1"); shift; done; shift
  if output=$(template "$@" 2>&1); then fail "$what was accepted"; fi
  for pattern in "${patterns[@]}"; do grep -q -- "$pattern" <<<"$output" || fail "$what: the message lacks \"$pattern\":"$'\n'"$output"; done
  pass
}

# --- lint and schema
for values in "$chart"/ci/*-values.yaml; do
  helm lint --strict --quiet "$chart" -f "$values" >"$work/lint" 2>&1 || { cat "$work/lint" >&2; fail "helm lint with $(basename "$values")"; }
  template -f "$values" | to_json >"$work/$(basename "$values" -values.yaml).json"
  pass
done
jq -e '
  def closed: if type == "object" and .type == "object" and has("properties") and .title == null then
      (if has("additionalProperties") then .additionalProperties == false else (.description | contains("other charts")) end) else true end;
  ([.. | closed] | all) and .additionalProperties == false
  and ([.. | objects | select(has("type") and (.type | type) == "string" and .title == null) | .description | type == "string" and length > 0] | all)
  ' "$chart/values.schema.json" >/dev/null || fail "the schema leaves an object open or a value without description"
pass
to_json <"$chart/values.yaml" | jq -e --slurpfile schema "$chart/values.schema.json" '
  # Paths of the defaults against paths of the schema; below a free map both end.
  def described: if has("properties") then .properties | to_entries[] | .key as $k | .value | [$k] + (described // []) else [] end;
  def given($schema): if type == "object" and ($schema | has("properties")) then to_entries[] | .key as $k | .value | [$k] + (given($schema.properties[$k] // {}) // []) else [] end;
  ([$schema[0] | described | select(.[0] != "probes")] | sort) as $known
  | ([.[0] | given($schema[0]) | select(.[0] != "probes")] | sort) as $defaults
  | if $known == $defaults then true else (($known - $defaults), ($defaults - $known) | tojson | halt_error(1)) end' >/dev/null || fail "values.yaml and values.schema.json differ"
pass

# --- refusals, with texts that help
url=(--set controlPlane.url=https://gateway.example.com)
refuses "a missing URL" "controlPlane.url is required" "控制台 → 集群 → 接入" "url: https://" --
refuses "an http URL" "must start with https://" "必须以 https://" -- --set controlPlane.url=http://gateway.example.com
refuses "an unknown key" "additional properties 'urll' not allowed" -- "${url[@]}" --set controlPlane.urll=x
refuses "an unknown top-level key" "additional properties 'foo' not allowed" -- "${url[@]}" --set foo=x
refuses "an unknown profile" "/access/profile" -- "${url[@]}" --set access.profile=root
refuses "admin without confirmation" "iUnderstand: true" "Secrets included" "请确认" -- "${url[@]}" --set access.profile=admin
refuses "a wrong pin" "/controlPlane/caPin" -- "${url[@]}" --set controlPlane.caPin=sha256:abc
refuses "two sources of the token" "exclude each other" "二选一" -- "${url[@]}" --set enrollment.token=a --set enrollment.existingSecret.name=b
refuses "credentials without an address" "monitoring.url" "必须同时设置" -- "${url[@]}" --set monitoring.auth=bearer --set monitoring.existingSecret=a
refuses "credentials without a Secret" "monitoring.existingSecret" "Secret 名称" -- "${url[@]}" --set monitoring.url=http://p:9090 --set monitoring.auth=basic
refuses "a pattern as a namespace" "/access/namespaces/0" -- "${url[@]}" --set access.namespaces='{team-*}'
refuses "a Service without a port" "/access/services/0" -- "${url[@]}" --set access.services='{default/web}'
refuses "a switch that is neither on nor off" "/access/exec" -- "${url[@]}" --set access.exec=perhaps
refuses "an unknown switch" "additional properties 'portforward' not allowed" -- "${url[@]}" --set access.portforward=false
refuses "an organisation with a space" "/cluster/organization" -- "${url[@]}" --set cluster.organization='a b'
refuses "another word for constrained impersonation" "/rbac/constrainedImpersonation" -- "${url[@]}" --set rbac.constrainedImpersonation=maybe
refuses "two sources of certificates" "at most one" "最多设置一个" -- "${url[@]}" --set tls.existingSecret=a --set tls.existingConfigMap=b
refuses "a drain longer than the grace period" "less than terminationGracePeriodSeconds" "必须小于" -- "${url[@]}" --set drain.timeout=60s

# --- what comes out
for profile in observe operate admin full; do
  expect "$profile: the pod does not meet the restricted pod security standard" '
    .[] | select(.kind == "Deployment").spec.template.spec
    | .securityContext.runAsNonRoot and .securityContext.runAsUser > 0 and .securityContext.seccompProfile.type == "RuntimeDefault"
      and ([.hostNetwork, .hostPID, .hostIPC] | map(. // false) | any | not)
      and ([.containers[].securityContext | .allowPrivilegeEscalation == false and .readOnlyRootFilesystem and .capabilities.drop == ["ALL"] and (.privileged // false | not) and .capabilities.add == null] | all)
      and ([.volumes[] | keys - ["name"] | .[0] | IN("configMap", "secret", "emptyDir", "projected", "downwardAPI", "ephemeral", "persistentVolumeClaim", "csi")] | all)' <"$work/$profile.json"
  expect "$profile: a probe, resources or the rollout settings are missing" '
    .[] | select(.kind == "Deployment").spec
    | .strategy.rollingUpdate == {"maxUnavailable": 0, "maxSurge": 1} and .template.spec.terminationGracePeriodSeconds == 60
      and (.template.metadata.annotations["checksum/config"] | length == 64)
      and (.template.spec.containers[0] | .startupProbe.httpGet.path == "/startupz" and .livenessProbe.httpGet.path == "/livez" and .readinessProbe.httpGet.path == "/readyz"
        and .resources.limits.memory != null and .resources.limits.cpu == null)' <"$work/$profile.json"
  expect "$profile: a label is missing" '[.[] | select(.metadata.name | contains("-as-") | not) | .metadata.labels
    | .["app.kubernetes.io/name"] and .["app.kubernetes.io/instance"] and .["app.kubernetes.io/version"] and .["app.kubernetes.io/component"]
      and .["app.kubernetes.io/part-of"] and .["app.kubernetes.io/managed-by"] and .["helm.sh/chart"]] | all' <"$work/$profile.json"
  expect "$profile: hooks other than tests are not allowed (Argo CD and Flux do not run them alike)" '[.[] | .metadata.annotations // {} | .["helm.sh/hook"] | . == null or . == "test"] | all' <"$work/$profile.json"
  expect "$profile: the token shows outside its Secret" '[.[] | select(.kind != "Secret") | tostring | contains("kte_") | not] | all' <"$work/$profile.json"
done
expect "the token is not a file from a Secret" '
  (.[] | select(.kind == "Secret" and .metadata.name == "kantaloupe-agent-enrollment").data.token | @base64d | startswith("kte_"))
  and (.[] | select(.kind == "Deployment").spec.template.spec | ([.containers[0].env[].name] - ["POD_NAME", "POD_NAMESPACE"] == [])
    and (.volumes[] | select(.name == "enrollment").secret | .secretName == "kantaloupe-agent-enrollment" and .optional))' <"$work/observe.json"
expect "the identity Secret carries data: an upgrade would overwrite the key" '.[] | select(.kind == "Secret" and .metadata.name == "kantaloupe-agent-identity") | has("data") or has("stringData") | not' <"$work/observe.json"
expect "identity.create=false still renders the Secret" '[.[] | select(.kind == "Secret").metadata.name] == ["agent-enrollment"]' <"$work/full.json"
expect "image, pull secrets or extra objects of the full example are wrong" '
  (.[] | select(.kind == "Deployment").spec.template.spec | (.containers[0].image | startswith("registry.example.com/mirror/kantaloupe/kantaloupe-agent@sha256:"))
    and .imagePullSecrets == [{"name": "global-pull"}, {"name": "pull"}])
  and ([.[] | select(.metadata.name | contains("-as-")).metadata.name] | sort == ["kantaloupe-agent-as-object", "kantaloupe-agent-as-text"])
  and ([.[] | select(.metadata.name | contains("-as-") | not) | .metadata.labels.team == "platform" and .metadata.annotations.owner == "platform"] | all)' <"$work/full.json"
# The owner's limits: as given to the agent, and in RBAC as far as it can say them.
agent_yaml() { jq -r '.[] | select(.kind == "ConfigMap" and (.data["agent.yaml"] // "") != "").data["agent.yaml"]' | to_json; }
agent_yaml <"$work/full.json" | expect "the limits of the full example do not get to the agent" '
  .[0] | .access == {"profile": "operate", "namespaces": ["team-a", "team-b"], "exec": false, "logs": false, "portForward": false, "proxy": true,
    "services": ["monitoring/grafana:3000", "team-a/web:http"]} and .cluster.organization == "acme"'
agent_yaml <"$work/observe.json" | expect "the defaults of the limits are others" '
  .[0].access == {"profile": "observe", "namespaces": [], "exec": true, "logs": true, "portForward": true, "proxy": false, "services": []}'
people='def people: select(.kind | endswith("Binding")) | select([.subjects[]?.kind] | index("Group"));'
expect "with namespaces, people get rights elsewhere" "$people"'[.[] | people | .kind == "RoleBinding" and (.metadata.namespace | IN("team-a", "team-b"))] | length == 4 and all' <"$work/full.json"
expect "what is switched off is still in a role" '[.[] | select(.kind == "ClusterRole" and (.metadata.name | endswith(":operate"))).rules[].resources[] | IN("pods/exec", "pods/attach", "pods/log", "pods/portforward")] | any | not' <"$work/full.json"
template -f "$chart/ci/operate-values.yaml" --set access.exec=null --set access.logs=null --set access.portForward=null --set access.namespaces=null --set rbac.constrainedImpersonation=null --skip-schema-validation | to_json |
  expect "values that an older release did not have change the rights" '
    .[] | select(.kind == "ClusterRole" and (.metadata.name | endswith(":operate"))) | [.rules[].resources[]] | contains(["pods/exec", "pods/log", "pods/portforward"])'

# Constrained impersonation: the agent may do as somebody what the profile gives, and nothing else.
rights='
  def rights($suffix): [.[] | select(.kind == "ClusterRole" and (.metadata.name | endswith($suffix))).rules[]
    | . as $rule | (.resources // .nonResourceURLs)[] as $what | .verbs[] | [($rule.apiGroups // ["url"])[0], $what, .]] | sort;
  def bare: map(.[2] |= ltrimstr("impersonate-on:user-info:")) | unique;
  def own: [.[] | select(.kind == "ClusterRole" and (.metadata.name | test(":(observe|operate|admin|on-behalf)$") | not)).rules[]];'
for profile in observe operate admin; do
  template -f "$chart/ci/$profile-values.yaml" --kube-version 1.36.0 | to_json >"$work/constrained.json"
  expect "$profile: rights on behalf of people are not those of the profile" "$rights"'
    (rights(":on-behalf") | map(.[2] | startswith("impersonate-on:user-info:")) | length > 20 and all)
    and ((rights(":on-behalf") | bare | map(select(.[1] != "*")))
      == ([rights(":observe", ":operate", ":admin")[]] | unique | map(select(.[1] != "*"))))
    and (if "'$profile'" == "admin" then (rights(":on-behalf") | bare | map(select(.[1] == "*")) | length == 15) else true end)' <"$work/constrained.json"
  expect "$profile: the unconstrained right is still there, or the identity is not limited" "$rights"'
    (own | map(.verbs[] == "impersonate") | any | not)
    and (own | map(select(.verbs == ["impersonate:user-info"])) | .[0] == {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]}
      and (.[1] | .apiGroups == ["authentication.k8s.io"] and .resources == ["groups"] and (.resourceNames | length > 0 and (map(startswith("kantaloupe:role:")) | all))))' <"$work/constrained.json"
done
for setting in "auto 1.35.9 0" "auto 1.36.0 1" "auto 1.36.1-gke.100 1" "auto 1.40.0 1" "true 1.30.0 1" "false 1.40.0 0"; do
  read -r value version wanted <<<"$setting"
  template "${url[@]}" --set "rbac.constrainedImpersonation=$value" --kube-version "$version" | to_json |
    expect "constrainedImpersonation=$value with Kubernetes $version" '[.[] | select(.kind == "ClusterRole" and (.metadata.name | endswith(":on-behalf")))] | length == '"$wanted"
done
expect "with namespaces, rights on behalf of people reach elsewhere" '
  [.[] | select((.kind | endswith("Binding")) and (.roleRef.name | endswith(":on-behalf"))) | [.kind, .metadata.namespace]] == [["RoleBinding", "team-a"], ["RoleBinding", "team-b"]]' <"$work/full.json"
expect "the organisation is not among the groups that may be impersonated" "$rights"'
  own[] | select(.resources == ["groups"]) | .resourceNames == ["kantaloupe:role:viewer", "kantaloupe:role:operator", "kantaloupe:org:acme"]' <"$work/full.json"

template -f "$chart/ci/observe-values.yaml" --set rbac.create=false | to_json |
  expect "rbac.create=false still renders roles" '[.[] | select(.kind | test("Role"))] == []'
for level in error warn info debug trace; do
  template "${url[@]}" --set logging.level=$level | to_json | jq -r '.[] | select(.kind == "ConfigMap").data["agent.yaml"]' | to_json |
    expect "agent.yaml has other keys than the agent knows" '.[0] | (keys - ["access", "cluster", "controlPlane", "drain", "enrollment", "health", "identity", "logging", "monitoring", "tls"] == []) and .logging.level == "'$level'"'
done
cp -r "$chart" "$work/notes" # without a cluster Helm prints no notes, so a ConfigMap carries them
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata:\n  notes: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n' >"$work/notes/templates/notes.yaml"
for values in "$chart"/ci/*-values.yaml; do
  helm template kantaloupe-agent "$work/notes" -f "$values" --show-only templates/notes.yaml | to_json |
    expect "the notes with $(basename "$values") are empty, longer than 15 lines, or show the token" '.[0].data.notes | (rtrimstr("\n") | split("\n") | length | . > 3 and . <= 15) and (contains("kte_") | not)'
done
template "${url[@]}" --set image.tag=7 | to_json | expect "a numeric tag" '.[] | select(.kind == "Deployment").spec.template.spec.containers[0].image == "kantaloupe/kantaloupe-agent:7"'

# --- roles: a snapshot per profile, so that a widened right shows in review
for profile in observe operate admin; do
  snapshot=$chart/ci/rbac-$profile.json
  jq -S '[.[] | select(.kind | test("Role"))
    | if .kind | endswith("Binding") then {kind, name: .metadata.name, namespace: .metadata.namespace, role: .roleRef.name, subjects}
      else {kind, name: .metadata.name, namespace: .metadata.namespace, rules} end] | sort_by(.kind, .name)' "$work/$profile.json" >"$work/rbac.json"
  [ -z "${UPDATE:-}" ] || cp "$work/rbac.json" "$snapshot"
  diff -u "$snapshot" "$work/rbac.json" >&2 || fail "the roles of profile $profile changed; if that is wanted: UPDATE=1 $0"
  pass
  case $profile in observe) groups='"viewer"' ;; operate) groups='"viewer", "operator"' ;; admin) groups='"viewer", "operator", "admin"' ;; esac
  [ $profile = admin ] || expect "$profile: a wildcard" '[.[] | select(.rules) | .rules[] | (.apiGroups + .resources + .verbs)[] | . == "*"] | any | not' <"$snapshot"
  expect "$profile: the agent itself may do more than impersonate, write its Secret, and read what holds no secret" '
    ([.[] | select(.kind == "ClusterRole" and (.name | endswith("kantaloupe-agent"))).rules[]]
      | (.[:3] | map([.resources[0], .resourceNames, .verbs]))
        == [["users", null, ["impersonate"]], ["groups", (['"$groups"'] | map("kantaloupe:role:" + .)), ["impersonate"]], ["namespaces", ["kube-system"], ["get"]]]
      and (.[3] | [.resources, .resourceNames, .verbs]) == [["configmaps"], ["hami-scheduler-device"], ["get"]]
      and (.[4:] | map(.verbs == ["get", "list", "watch"] and (.resources - ["secrets", "*"] == .resources)) | all))
    and ([.[] | select(.kind == "Role").rules[]] | length == 1 and .[0].resources == ["secrets"] and (.[0].resourceNames | length == 1) and .[0].verbs == ["get", "update", "patch"])' <"$snapshot"
done
for profile in observe operate; do
  expect "$profile: Secrets must stay out of reach" '[.[] | select(.kind == "ClusterRole").rules[].resources[]? | startswith("secrets") or startswith("services/proxy")] | any | not' <"$chart/ci/rbac-$profile.json"
done

# --- who reaches the agent
expect "a NetworkPolicy that nobody asked for" 'any(.[]; .kind == "NetworkPolicy") | not' <"$work/observe.json"
alone=$(template "${url[@]}" --set networkPolicy.enabled=true | to_json)
expect "a NetworkPolicy that lets somebody in" '[.[] | select(.kind == "NetworkPolicy").spec] | length == 1 and .[0].policyTypes == ["Ingress"] and .[0].ingress == []' <<<"$alone"
expect "a NetworkPolicy for other pods" '([.[] | select(.kind == "NetworkPolicy").spec.podSelector.matchLabels] | first) == ([.[] | select(.kind == "Deployment").spec.selector.matchLabels] | first)' <<<"$alone"
template "${url[@]}" --set networkPolicy.enabled=true --set 'networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus' | to_json |
  expect "a NetworkPolicy that keeps Prometheus out" '[.[] | select(.kind == "NetworkPolicy").spec.ingress[]] == [{from: [{podSelector: {matchLabels: {app: "prometheus"}}}], ports: [{port: 9090, protocol: "TCP"}]}]'

# --- the package: the same bytes at another time, under another umask
"$root/scripts/chart-package.sh" "$work/package" >/dev/null
package=$(basename "$work"/package/*.tgz)
sleep 1.1 # a file's time has seconds
(umask 077; TZ=Asia/Shanghai "$root/scripts/chart-package.sh" "$work/again" >/dev/null)
cmp "$work/package/$package" "$work/again/$package" || fail "two packages of the chart differ"
helm template kantaloupe-agent "$work/package/$package" --namespace kantaloupe-system -f "$chart/ci/observe-values.yaml" >"$work/packed.yaml"
template -f "$chart/ci/observe-values.yaml" | cmp - "$work/packed.yaml" || fail "the packed chart renders something else"
pass

[ $# -gt 0 ] || { echo "chart: $(wc -l <"$work/checks") checks passed"; exit 0; }

# --- against a real API server
cluster=$1
inside() { "$testbed/cluster.sh" exec "$cluster" "$@"; }
namespace=chart-$RANDOM
cleanup() { inside helm uninstall chart-test -n $namespace >/dev/null 2>&1 || true; inside kubectl delete namespace $namespace --wait=false >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
inside kubectl create namespace $namespace >/dev/null
inside kubectl label namespace $namespace pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted >/dev/null
release() { inside helm upgrade --install chart-test "$chart" -n $namespace "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "helm upgrade --install $*"; }; ! grep -i "would violate" "$work/out" || fail "the pod violates the restricted standard"; }

# busybox stands in for the agent: admission and upgrades are at stake here, not the program.
image=(--set image.repository=localhost/busybox --set image.tag=1 --set fullnameOverride=agent)
release -f "$chart/ci/observe-values.yaml" "${image[@]}"
for _ in $(seq 100); do [ "$(inside kubectl -n $namespace get pods -o name | wc -l)" -gt 0 ] && break; sleep 0.1; done
[ "$(inside kubectl -n $namespace get pods -o name | wc -l)" -gt 0 ] || { inside kubectl -n $namespace get events >&2; fail "no pod was admitted under the restricted standard"; }
pass
inside kubectl -n $namespace patch secret agent-identity --type merge -p '{"data":{"private-key":"a2V5","identity.json":"e30="}}' >/dev/null
for change in "--set=access.profile=operate" "--set=identity.annotations.changed=yes" "--set=enrollment.token="; do
  release -f "$chart/ci/observe-values.yaml" "${image[@]}" "$change"
  [ "$(inside kubectl -n $namespace get secret agent-identity -o jsonpath='{.data.private-key}{.data.identity\.json}')" = a2V5e30= ] || fail "an upgrade with $change lost the identity"
  pass
done

# as VERB RESOURCE[/SUBRESOURCE] ROLE
as() { inside kubectl auth can-i "$1" "${2%%/*}" --subresource="$(cut -sd/ -f2 <<<"$2")" --as kantaloupe:user:test --as-group "kantaloupe:role:$3" -n default 2>/dev/null || true; }
can() { [ "$(as "$1" "$2" "$3")" = yes ] || fail "profile $profile: $3 cannot $1 $2"; pass; }
cannot() { [ "$(as "$1" "$2" "$3")" = no ] || fail "profile $profile: $3 can $1 $2"; pass; }
for profile in observe operate admin; do
  release -f "$chart/ci/$profile-values.yaml" "${image[@]}"
  can list pods viewer; cannot get secrets viewer; cannot get pods/log viewer; cannot create pods/exec viewer
  case $profile in
    observe) cannot get pods/log admin; cannot create pods/exec operator; cannot delete pods admin ;;
    operate) can get pods/log operator; can create pods/exec operator; can get pods/exec admin; can patch deployments operator; cannot get secrets operator; cannot create pods admin; cannot create clusterrolebindings admin ;;
    admin) can get secrets admin; can create clusterrolebindings admin; can create pods/exec operator; cannot get secrets operator ;;
  esac
done
agent=(--as "system:serviceaccount:$namespace:agent")
for readable in nodes pods replicasets.apps deployments.apps statefulsets.apps jobs.batch resourceslices.resource.k8s.io resourceclaims.resource.k8s.io; do
  for verb in list watch; do
    [ "$(inside kubectl auth can-i $verb $readable -A "${agent[@]}" 2>/dev/null || true)" = yes ] || fail "the agent cannot $verb $readable, which the inventory needs"; pass
  done
done
[ "$(inside kubectl auth can-i update secrets/agent-identity -n $namespace "${agent[@]}")" = yes ] || fail "the agent cannot write its identity"; pass
for forbidden in "get secrets/other" "list secrets" "create secrets"; do
  # shellcheck disable=SC2086
  [ "$(inside kubectl auth can-i $forbidden -n $namespace "${agent[@]}" || true)" = no ] || fail "the agent can $forbidden"; pass
done
[ "$(inside kubectl auth can-i impersonate groups/system:masters "${agent[@]}" 2>/dev/null || true)" = no ] || fail "the agent can impersonate system:masters"; pass
[ "$(inside kubectl auth can-i impersonate groups/kantaloupe:role:viewer "${agent[@]}" 2>/dev/null)" = yes ] || fail "the agent cannot impersonate its own groups"; pass
inside helm uninstall chart-test -n $namespace >/dev/null
[ -z "$(inside kubectl get clusterroles,clusterrolebindings -o name | grep "$namespace:" || true)" ] || fail "an uninstall leaves cluster roles behind"; pass
echo "chart: $(wc -l <"$work/checks") checks passed, also on cluster $cluster"
