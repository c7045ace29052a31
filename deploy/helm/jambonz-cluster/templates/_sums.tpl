{{- define "jambonz.labels" -}}
app.kubernetes.io/name: jambonz-cluster
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: jambonz-cluster
{{- end -}}

{{- define "jambonz.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "jambonz.image" -}}
{{ .root.Values.image.registry }}/{{ .component }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- /*
How long a gateway may take to leave (gateway/jambonz_gateway/server.py, _drain): unready, wait for the load balancer,
let calls end, move the rest at a bounded rate, 5 s for owed acks, 2 s for Redis; and 10 s of air.
*/ -}}
{{- define "jambonz.gatewayGrace" -}}
{{- $g := .Values.gateway -}}
{{- $moving := div (add $g.maxCalls $g.moveRate -1) $g.moveRate -}}
{{ add $g.drainDelaySeconds $g.drainTimeoutSeconds $moving 5 2 10 }}
{{- end -}}

{{- /* A worker: let calls end, 2 s to give the rest up, 2 s to hand over, 1 s to say goodbye; and 10 s of air. */ -}}
{{- define "jambonz.workerGrace" -}}
{{ add .Values.worker.drainTimeoutSeconds 5 10 }}
{{- end -}}

{{- define "jambonz.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "jambonz.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "jambonz.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: { {{- include "jambonz.selector" . | replace "\n" ", " -}} }}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: { {{- include "jambonz.selector" . | replace "\n" ", " -}} }}
{{- end -}}

{{- define "jambonz.env" -}}
- {name: JAMBONZ_CLUSTER_REDIS_URL_FILE, value: /run/secrets/jambonz/redis-url}
- {name: JAMBONZ_CLUSTER_KEY_PREFIX, value: {{ .Values.keyPrefix | quote }}}
- {name: JAMBONZ_CLUSTER_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
- {name: JAMBONZ_CLUSTER_LOG_FORMAT, value: json}
{{- with .Values.extraEnv }}
{{ include "jambonz.extraEnv" . }}
{{- end }}
{{- end -}}

{{- define "jambonz.extraEnv" -}}
{{- $lines := list -}}
{{- range $name, $value := . -}}
{{- $lines = append $lines (printf "- {name: %s, value: %s}" $name (toString $value | quote)) -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{- define "jambonz.mounts" -}}
- {name: secrets, mountPath: /run/secrets/jambonz, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "jambonz.tmp" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end -}}

{{- /* What every process takes from the Secret: where Redis is, and whose certificate it has. */ -}}
{{- define "jambonz.redisItems" -}}
- {key: redis-url, path: redis-url}
{{- if .Values.redisCa }}
- {key: redis-ca, path: redis-ca}
{{- end }}
{{- end -}}
