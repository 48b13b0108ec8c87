{{/* What the schema cannot say well: each failure names the value, the reason and the way out, in Chinese and English. */}}
{{- define "kantaloupe-agent.validate" -}}
{{- if not .Values.controlPlane.url -}}
{{- fail `

controlPlane.url is required: the address of your Kantaloupe gateway.
  The gateway prints the whole command: console -> Clusters -> Connect, or POST /api/v1/clusters.
缺少 controlPlane.url（网关地址）。
  控制台 → 集群 → 接入 提供完整命令，也可调用 POST /api/v1/clusters 获取。

  controlPlane:
    url: https://gateway.example.com
  enrollment:
    token: kte_...
` -}}
{{- end -}}
{{- if not (hasPrefix "https://" .Values.controlPlane.url) -}}
{{- fail (printf `

controlPlane.url must start with https:// but is %q. The agent never talks to a gateway without TLS.
controlPlane.url 必须以 https:// 开头，当前为 %q。Agent 只通过 TLS 连接网关。

  controlPlane:
    url: https://gateway.example.com
` .Values.controlPlane.url .Values.controlPlane.url) -}}
{{- end -}}
{{- if and .Values.enrollment.token .Values.enrollment.existingSecret.name -}}
{{- fail `

enrollment.token and enrollment.existingSecret.name exclude each other: keep one.
enrollment.token 与 enrollment.existingSecret.name 只能二选一。
` -}}
{{- end -}}
{{- if gt (len (compact (list .Values.tls.caBundle .Values.tls.existingConfigMap .Values.tls.existingSecret))) 1 -}}
{{- fail `

Give at most one of tls.caBundle, tls.existingConfigMap and tls.existingSecret.
tls.caBundle、tls.existingConfigMap、tls.existingSecret 最多设置一个。
` -}}
{{- end -}}
{{- if and (ne .Values.monitoring.auth "none") (not .Values.monitoring.url) -}}
{{- fail `

monitoring.auth needs monitoring.url: credentials are shown to a configured address only, not to what was found by itself.
设置 monitoring.auth 时必须同时设置 monitoring.url：凭据只发送给明确配置的地址，不会发送给自动发现的地址。
` -}}
{{- end -}}
{{- if and (include "kantaloupe-agent.monitoringKeys" .) (not .Values.monitoring.existingSecret) -}}
{{- fail `

monitoring.auth and monitoring.ca need monitoring.existingSecret: the name of a Secret with the keys token, or username and password, and ca.crt.
设置 monitoring.auth 或 monitoring.ca 时必须设置 monitoring.existingSecret，即包含 token（或 username 与 password）以及 ca.crt 的 Secret 名称。
` -}}
{{- end -}}
{{- if and (eq .Values.access.profile "admin") (not .Values.access.admin.iUnderstand) -}}
{{- fail `

access.profile=admin lets administrators of the gateway do everything in this cluster (*/*/*), Secrets included.
  Confirm that this is wanted, or choose access.profile=operate or observe.
access.profile=admin 允许网关管理员在本集群内执行任何操作（*/*/*），包括读取 Secret。
  请确认确有需要，否则请使用 access.profile=operate 或 observe。

  access:
    profile: admin
    admin:
      iUnderstand: true
` -}}
{{- end -}}
{{- if ge (int (trimSuffix "s" .Values.drain.timeout)) (int .Values.terminationGracePeriodSeconds) -}}
{{- fail (printf `

drain.timeout (%s) must be less than terminationGracePeriodSeconds (%d): Kubernetes would kill the agent before its streams have ended.
drain.timeout（%s）必须小于 terminationGracePeriodSeconds（%d），否则 Kubernetes 会在会话结束前强制终止 Agent。
` .Values.drain.timeout (int .Values.terminationGracePeriodSeconds) .Values.drain.timeout (int .Values.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- end -}}
