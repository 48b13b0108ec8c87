{{/* Rules of the three profiles: what people can do through the gateway at most. */}}
{{- define "kantaloupe-agent.rules.observe" -}}
- apiGroups: [""]
  resources:
    - endpoints
    - events
    - limitranges
    - namespaces
    - nodes
    - persistentvolumeclaims
    - persistentvolumes
    - pods
    - replicationcontrollers
    - resourcequotas
    - services
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [daemonsets, deployments, replicasets, statefulsets]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [cronjobs, jobs]
  verbs: [get, list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses, ingresses, networkpolicies]
  verbs: [get, list, watch]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get, list, watch]
- apiGroups: [scheduling.k8s.io]
  resources: [priorityclasses]
  verbs: [get, list, watch]
- apiGroups: [node.k8s.io]
  resources: [runtimeclasses]
  verbs: [get, list, watch]
- apiGroups: [resource.k8s.io]
  resources: [deviceclasses, resourceclaims, resourceclaimtemplates, resourceslices]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses, gateways, httproutes]
  verbs: [get, list, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, servicemonitors]
  verbs: [get, list, watch]
- apiGroups: [metrics.k8s.io]
  resources: [nodes, pods]
  verbs: [get, list]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
- apiGroups: [authentication.k8s.io]
  resources: [selfsubjectreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [selfsubjectaccessreviews, selfsubjectrulesreviews]
  verbs: [create]
{{- end -}}

{{/* What the agent itself reads: for the inventory and for preflight. Nothing here holds a secret, and nothing can be changed. */}}
{{- define "kantaloupe-agent.rules.read" -}}
- apiGroups: [""]
  resources: [namespaces, nodes, persistentvolumes, pods, services]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [daemonsets, deployments]
  verbs: [get, list, watch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch]
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  verbs: [get, list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get, list, watch]
- apiGroups: [node.k8s.io]
  resources: [runtimeclasses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch]
- apiGroups: [nvidia.com]
  resources: [clusterpolicies, nvidiadrivers]
  verbs: [get, list, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusagents, prometheuses, servicemonitors]
  verbs: [get, list, watch]
- apiGroups: [operator.victoriametrics.com]
  resources: [vmagents, vmclusters, vmservicescrapes, vmsingles]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses, gateways]
  verbs: [get, list, watch]
{{- end -}}

{{/* On top of observe, without what is switched off. A value may be missing: --reuse-values knows no new ones, and the agent takes that as on. exec, attach and port-forward over WebSocket are a GET for the API server up to 1.34, over SPDY a POST. */}}
{{- define "kantaloupe-agent.rules.operate" -}}
{{- if ne (toString .Values.access.logs) "false" }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if ne (toString .Values.access.exec) "false" }}
- apiGroups: [""]
  resources: [pods/attach, pods/exec]
  verbs: [create, get]
{{- end }}
{{- if ne (toString .Values.access.portForward) "false" }}
- apiGroups: [""]
  resources: [pods/portforward]
  verbs: [create, get]
{{- end }}
- apiGroups: [""]
  resources: [pods]
  verbs: [delete]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [""]
  resources: [nodes]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, patch, update, watch]
- apiGroups: [apps]
  resources: [daemonsets, deployments, statefulsets]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments/scale, replicasets/scale, statefulsets/scale]
  verbs: [get, patch, update]
{{- end -}}

{{/* Everything. What the agent refuses beyond that (its switches, service accounts' tokens) RBAC cannot take away from a wildcard. */}}
{{- define "kantaloupe-agent.rules.admin" -}}
- apiGroups: ["*"]
  resources: ["*"]
  verbs: ["*"]
- nonResourceURLs: ["*"]
  verbs: ["*"]
{{- end -}}

{{/* The profiles up to the chosen one, as a JSON list. */}}
{{- define "kantaloupe-agent.profiles" -}}
{{- $last := index (dict "observe" 1 "operate" 2 "admin" 3) .Values.access.profile | int -}}
{{- slice (list "observe" "operate" "admin") 0 $last | toJson -}}
{{- end -}}

{{/* The groups that the agent impersonates, as a JSON list: the roles up to the profile, and the organisation. */}}
{{- define "kantaloupe-agent.groups" -}}
{{- $roles := dict "observe" "kantaloupe:role:viewer" "operate" "kantaloupe:role:operator" "admin" "kantaloupe:role:admin" -}}
{{- $groups := list -}}
{{- range include "kantaloupe-agent.profiles" . | fromJsonArray }}{{- $groups = append $groups (index $roles .) }}{{- end -}}
{{- with .Values.cluster.organization }}{{- $groups = append $groups (printf "kantaloupe:org:%s" .) }}{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* "true" where the API server knows constrained impersonation: a right to impersonate, and one for each thing done that way. */}}
{{- define "kantaloupe-agent.constrained" -}}
{{- $given := toString .Values.rbac.constrainedImpersonation -}}
{{- $auto := has $given (list "auto" "" "<nil>") -}}
{{- if or (eq $given "true") (and $auto (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version)) -}}true{{- end -}}
{{- end -}}

{{/* With constrained impersonation: what the agent may do as somebody, which is what the profile's roles may do. RBAC knows no part of a
     verb as a wildcard, so a star stands for all verbs of requests. */}}
{{- define "kantaloupe-agent.rules.onBehalf" -}}
{{- $resourceVerbs := list "get" "list" "watch" "create" "update" "patch" "delete" "deletecollection" -}}
{{- $urlVerbs := list "get" "head" "post" "put" "patch" "delete" "options" -}}
{{- $rules := list -}}
{{- range $profile := include "kantaloupe-agent.profiles" . | fromJsonArray -}}
{{- range $rule := include (printf "kantaloupe-agent.rules.%s" $profile) $ | fromYamlArray -}}
{{- $verbs := list -}}
{{- range $verb := $rule.verbs -}}
{{- range $one := ternary (ternary $urlVerbs $resourceVerbs (hasKey $rule "nonResourceURLs")) (list $verb) (eq $verb "*") -}}
{{- $verbs = append $verbs (printf "impersonate-on:user-info:%s" $one) -}}
{{- end -}}
{{- end -}}
{{- $rules = append $rules (set $rule "verbs" $verbs) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* The same for what belongs to no namespace and everybody may: discovery, and reviews of oneself. */}}
{{- define "kantaloupe-agent.rules.onBehalfOfEverybody" -}}
- nonResourceURLs: [/api, /api/*, /apis, /apis/*, /healthz, /livez, /openapi, /openapi/*, /readyz, /version, /version/]
  verbs: ["impersonate-on:user-info:get"]
- apiGroups: [authentication.k8s.io]
  resources: [selfsubjectreviews]
  verbs: ["impersonate-on:user-info:create"]
- apiGroups: [authorization.k8s.io]
  resources: [selfsubjectaccessreviews, selfsubjectrulesreviews]
  verbs: ["impersonate-on:user-info:create"]
{{- end -}}

{{/* Binds a ClusterRole of ours (.role) to .subjects: in the whole cluster, or in each namespace of access.namespaces. */}}
{{- define "kantaloupe-agent.bind" -}}
{{- $root := .root }}
{{- $role := .role }}
{{- $subjects := .subjects }}
{{- range $namespace := $root.Values.access.namespaces | default (list "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne $namespace "") }}
metadata:
  name: {{ $role }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "kantaloupe-agent.labels" $root | nindent 4 }}
  {{- with include "kantaloupe-agent.annotations" (dict "context" $root) }}{{ . | nindent 2 }}{{ end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role }}
subjects:
  {{- toYaml $subjects | nindent 2 }}
{{- end }}
{{- end -}}
