{{/* What the agent itself reads for the inventory. Nothing here holds a secret, and nothing can be changed. */}}
{{- define "kantaloupe-agent.rules.inventory" -}}
- apiGroups: [""]
  resources: [nodes, pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, replicasets, statefulsets]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch]
- apiGroups: [resource.k8s.io]
  resources: [deviceclasses, resourceclaims, resourceslices]
  verbs: [get, list, watch]
{{- end -}}
