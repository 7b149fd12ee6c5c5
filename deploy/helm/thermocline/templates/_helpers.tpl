{{- define "thermocline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: a StatefulSet's pods carry a label of its name, a dash and a revision hash. */}}
{{- define "thermocline.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "thermocline.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "thermocline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "thermocline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "thermocline.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "thermocline.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "thermocline.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- $flavour := ternary "-all-in-one" "" .Values.embedded.enabled -}}
{{- printf "%s:%s" .Values.image.repository (default (printf "%s%s" .Chart.AppVersion $flavour) .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "thermocline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "thermocline.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Whether the server delivers at all; `sinks: none` only fills the WAL. */}}
{{- define "thermocline.delivers" -}}
{{- if ne (default "stores" .Values.config.sinks) "none" }}true{{ end -}}
{{- end -}}

{{/* The tier in which the smoke test looks for its log row, or "none". */}}
{{- define "thermocline.logsTier" -}}
{{- if not (include "thermocline.delivers" .) }}none
{{- else if contains "cold" (toString (default "cold" (default dict .Values.config.routing).logs)) }}cold
{{- else }}hot
{{- end -}}
{{- end -}}

{{/* The configuration file. The chart's own keys come last, so that they win. */}}
{{- define "thermocline.config" -}}
{{- $own := dict "host" .Values.listenAddress "grpc_port" .Values.ports.grpc "http_port" .Values.ports.http "admin_port" .Values.ports.admin "data_dir" "/var/lib/thermocline" -}}
{{- toYaml (merge $own .Values.config) -}}
{{- end -}}

{{- define "thermocline.graceSeconds" -}}
{{- $shutdownMs := int64 (default 25000 .Values.config.shutdown_grace_ms) -}}
{{- $least := add .Values.preStopSeconds (div (add $shutdownMs 999) 1000) 10 -}}
{{- $given := int64 .Values.terminationGracePeriodSeconds -}}
{{- if and (gt $given 0) (lt $given $least) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d but a drain may take %d s (preStopSeconds + config.shutdown_grace_ms + 10 s): the pod would be killed in the middle of it" $given $least) -}}
{{- end -}}
{{- ternary $given $least (gt $given 0) -}}
{{- end -}}

{{/* One store's variable. Call with (list $ "postgres" "THERMOCLINE_POSTGRES_URL"). */}}
{{- define "thermocline.storeEnv" -}}
{{- $root := index . 0 -}}
{{- $store := index . 1 -}}
{{- $values := index $root.Values $store -}}
- name: {{ index . 2 }}
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-stores" (include "thermocline.fullname" $root)) $values.existingSecret.name }}
      key: {{ ternary $values.existingSecret.key (printf "%s-url" $store) (ne $values.existingSecret.name "") }}
{{- end -}}

{{/* What the values schema cannot say. */}}
{{- define "thermocline.validate" -}}
{{- range $store := list "postgres" "clickhouse" -}}
{{- $values := index $.Values $store -}}
{{- $given := or $values.url $values.existingSecret.name -}}
{{- if and $values.url $values.existingSecret.name -}}
{{- fail (printf "set %s.url or %s.existingSecret.name, not both" $store $store) -}}
{{- end -}}
{{- if and $.Values.embedded.enabled $given -}}
{{- fail (printf "embedded.enabled starts its own stores: leave %s.url and %s.existingSecret.name empty" $store $store) -}}
{{- end -}}
{{- if and (not $.Values.embedded.enabled) (not $given) (include "thermocline.delivers" $) -}}
{{- fail (printf "set %s.url or %s.existingSecret.name, or embedded.enabled=true to try the chart out" $store $store) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.embedded.enabled (gt (int .Values.replicas) 1) -}}
{{- fail "embedded.enabled allows one replica: each would have its own stores" -}}
{{- end -}}
{{- $inFlight := .Values.config.in_flight_bytes_max -}}
{{- $request := .Values.config.request_bytes_max -}}
{{- if and $inFlight $request (lt (int64 $inFlight) (int64 $request)) -}}
{{- fail "config.in_flight_bytes_max must not be below config.request_bytes_max" -}}
{{- end -}}
{{- $ports := list .Values.ports.grpc .Values.ports.http .Values.ports.admin -}}
{{- if ne (len (uniq $ports)) 3 -}}
{{- fail "ports.grpc, ports.http and ports.admin must differ" -}}
{{- end -}}
{{- end -}}
