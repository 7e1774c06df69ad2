{{/* What every pod and container has, whatever the values say. */}}

{{/* Of a pod's spec. */}}
{{- define "bridge.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- if not (kindIs "invalid" .Values.runAsUser) }}
  runAsUser: {{ int64 .Values.runAsUser }}
  runAsGroup: {{ int64 .Values.runAsUser }}
  fsGroup: {{ int64 .Values.runAsUser }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of a container. */}}
{{- define "bridge.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A container of the program: `(list . kind name arguments resources)`; the kind is run, or that of a Job. */}}
{{- define "bridge.container" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
image: {{ include "bridge.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: {{ index . 3 | toJson }}
env:
  {{- include "bridge.env" (list $root (index . 1)) | nindent 2 }}
resources:
  {{- toYaml (index . 4) | nindent 2 }}
securityContext:
  {{- include "bridge.securityContext" $root | nindent 2 }}
volumeMounts:
  {{- include "bridge.volumeMounts" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{/* What a Job that runs before the release is installed brings with it: its settings, and whom it may speak to:
`(list . kind edges)`. */}}
{{- define "bridge.hookNeeds" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $name := printf "%s-%s" (include "bridge.fullname" $root) $kind -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  labels:
    {{- include "bridge.labels" $root | nindent 4 }}
  annotations:
    {{- include "bridge.hook" "-10" | nindent 4 }}
data:
  bridge.yaml: |
    {{- include "bridge.jobSettingsFile" (list $root $kind) | nindent 4 }}
  {{- $grants := $root.Values.migration.grants }}
  {{- if and (eq $kind "migration") $grants.enabled }}
  grants.sql: |
    {{- $root.Files.Get "files/grants.sql" | replace "bridge_service" $grants.serviceRole | replace "bridge_auditor" $grants.auditorRole | nindent 4 }}
  {{- end }}
{{- if $root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- include "bridge.labels" $root | nindent 4 }}
  annotations:
    {{- include "bridge.hook" "-10" | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "bridge.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $kind }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "bridge.egress" (list $root (index . 2)) | trim | nindent 4 }}
{{- end }}
{{- end -}}
