{{- define "kantaloupe-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* 52: the longest suffix, "-enrollment", still fits a DNS label. */}}
{{- define "kantaloupe-agent.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "kantaloupe-agent.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kantaloupe-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kantaloupe-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kantaloupe-agent.labels" -}}
{{ include "kantaloupe-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: kantaloupe
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The annotations of an object: (dict "context" . "own" <map>). Prints the whole key, or nothing. */}}
{{- define "kantaloupe-agent.annotations" -}}
{{- with merge (dict) (default (dict) .own) .context.Values.global.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kantaloupe-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kantaloupe-agent.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kantaloupe-agent.identitySecretName" -}}
{{- default (printf "%s-identity" (include "kantaloupe-agent.fullname" .)) .Values.identity.secretName -}}
{{- end -}}

{{- define "kantaloupe-agent.enrollmentSecretName" -}}
{{- default (printf "%s-enrollment" (include "kantaloupe-agent.fullname" .)) .Values.enrollment.existingSecret.name -}}
{{- end -}}

{{/* Names of cluster-wide objects carry the namespace: two releases of one name in two namespaces do not collide. */}}
{{- define "kantaloupe-agent.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "kantaloupe-agent.fullname" .) -}}
{{- end -}}

{{- define "kantaloupe-agent.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- /* --set image.tag=1 arrives as a number. */ -}}
{{- $tag := .Values.image.tag -}}
{{- if not (kindIs "string" $tag) -}}{{- $tag = int64 $tag | toString -}}{{- end -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $tag) -}}
{{- end -}}
{{- end -}}

{{- define "kantaloupe-agent.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets -}}
{{- if kindIs "string" . -}}
{{- $names = append $names . -}}
{{- else -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- range uniq $names }}
- name: {{ . }}
{{- end -}}
{{- end -}}

{{- define "kantaloupe-agent.hasCa" -}}
{{- if or .Values.tls.caBundle .Values.tls.existingConfigMap .Values.tls.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* Keys of the Secret for Prometheus that the pod needs, one a line. */}}
{{- define "kantaloupe-agent.monitoringKeys" -}}
{{- if .Values.monitoring.ca }}
- ca.crt
{{- end }}
{{- if eq .Values.monitoring.auth "bearer" }}
- token
{{- end }}
{{- if eq .Values.monitoring.auth "basic" }}
- username
- password
{{- end }}
{{- end -}}

{{/* agent.yaml. Built as a map so that every value is quoted as YAML wants it. */}}
{{- define "kantaloupe-agent.config" -}}
{{- $controlPlane := dict "url" .Values.controlPlane.url -}}
{{- with .Values.controlPlane.caPin }}{{- $_ := set $controlPlane "caPin" . }}{{- end -}}
{{- $config := dict
  "controlPlane" $controlPlane
  "enrollment" (dict "tokenFile" "/var/run/kantaloupe/enrollment/token")
  "identity" (dict "secretName" (include "kantaloupe-agent.identitySecretName" .))
  "access" (omit .Values.access "admin")
  "health" (dict "listen" (printf "0.0.0.0:%d" (int .Values.metrics.port)))
  "logging" (dict "format" .Values.logging.format "level" .Values.logging.level)
  "drain" (dict "timeout" .Values.drain.timeout) -}}
{{- $cluster := dict -}}
{{- with .Values.cluster.id }}{{- $_ := set $cluster "id" . }}{{- end -}}
{{- with .Values.cluster.organization }}{{- $_ := set $cluster "organization" . }}{{- end -}}
{{- if $cluster }}{{- $_ := set $config "cluster" $cluster }}{{- end -}}
{{- if include "kantaloupe-agent.hasCa" . }}{{- $_ := set $config "tls" (dict "caFile" "/var/run/kantaloupe/ca/ca.crt") }}{{- end -}}
{{- $monitoring := dict "discover" .Values.monitoring.discover -}}
{{- $folder := "/var/run/kantaloupe/monitoring" -}}
{{- with .Values.monitoring.url }}{{- $_ := set $monitoring "url" . }}{{- end -}}
{{- if .Values.monitoring.ca }}{{- $_ := set $monitoring "caFile" (printf "%s/ca.crt" $folder) }}{{- end -}}
{{- if eq .Values.monitoring.auth "bearer" }}{{- $_ := set $monitoring "bearerTokenFile" (printf "%s/token" $folder) }}{{- end -}}
{{- if eq .Values.monitoring.auth "basic" }}
{{- $_ := set $monitoring "usernameFile" (printf "%s/username" $folder) }}
{{- $_ := set $monitoring "passwordFile" (printf "%s/password" $folder) }}
{{- end -}}
{{- $_ := set $config "monitoring" $monitoring -}}
{{- toYaml $config -}}
{{- end -}}
