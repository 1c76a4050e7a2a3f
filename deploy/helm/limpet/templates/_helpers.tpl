{{/* The name of all objects. */}}
{{- define "limpet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The ServiceAccount. */}}
{{- define "limpet.serviceAccountName" -}}
{{- default (include "limpet.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What the Pods are selected by; can never be changed. */}}
{{- define "limpet.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "limpet.labels" -}}
{{ include "limpet.selectorLabels" . }}
app.kubernetes.io/component: agent
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image, by digest where there is one. */}}
{{- define "limpet.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- with .Values.image.digest -}}{{- printf "@%s" . -}}{{- end -}}
{{- end -}}

{{/* ADDRESS:PORT of {address, port}. */}}
{{- define "limpet.socketAddress" -}}
{{- if contains ":" .address -}}
{{- printf "[%s]:%v" .address .port -}}
{{- else -}}
{{- printf "%s:%v" .address .port -}}
{{- end -}}
{{- end -}}

{{/* Where the kubelet asks for what listens on an address. */}}
{{- define "limpet.probeHost" -}}
{{- if eq . "0.0.0.0" -}}127.0.0.1{{- else if eq . "::" -}}::1{{- else -}}{{- . -}}{{- end -}}
{{- end -}}

{{/* The agent's configuration file. */}}
{{- define "limpet.config" -}}
{{- $agent := .Values.agent -}}
{{- $config := dict
  "break-events" $agent.breakEvents
  "health-address" (include "limpet.socketAddress" .Values.health)
  "metrics-address" (ternary (include "limpet.socketAddress" .Values.metrics) "none" .Values.metrics.enabled)
  "metrics-services" (int .Values.metrics.services)
  "log" $agent.logLevel
  "node-port-addresses" $agent.nodePortAddresses
  "tunnel-port" (int $agent.tunnelPort)
-}}
{{- with $agent.serviceClass -}}{{- $_ := set $config "service-class" . -}}{{- end -}}
{{- with $agent.serviceProxyName -}}{{- $_ := set $config "service-proxy-name" . -}}{{- end -}}
{{- with $agent.uplinks -}}{{- $_ := set $config "uplink" . -}}{{- end -}}
{{- toYaml (merge $config $agent.config) -}}
{{- end -}}

{{/* Fails where Prometheus is sent to an address that only the node itself reaches. */}}
{{- define "limpet.checkMetrics" -}}
{{- $address := .Values.metrics.address -}}
{{- if not .Values.metrics.enabled -}}
{{- fail "podMonitor and serviceMonitor need metrics.enabled" -}}
{{- end -}}
{{- if or (hasPrefix "127." $address) (eq "::1" $address) -}}
{{- fail (printf "Prometheus cannot reach metrics.address %s: say 0.0.0.0 or \"::\", and let nobody else reach the port" $address) -}}
{{- end -}}
{{- end -}}
