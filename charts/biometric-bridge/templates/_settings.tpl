{{/* The service's settings: the file, the variables, and the files that they name. */}}

{{/* A duration of the settings in whole seconds, rounded up. */}}
{{- define "bridge.seconds" -}}
{{- $unit := dict "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(ms|d|h|m|s)" . -1 -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $milliseconds = add $milliseconds (mul $number (get $unit (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end -}}

{{/* A setting by its path, or else the default given: `(list . "http.socket_ping_every" "20s")`. */}}
{{- define "bridge.setting" -}}
{{- $here := (index . 0).Values.config -}}
{{- range splitList "." (index . 1) -}}
{{- $here = ternary (get (default dict $here) .) nil (kindIs "map" $here) -}}
{{- end -}}
{{- if kindIs "invalid" $here -}}{{- index . 2 -}}
{{- /* Large numbers would come out as 1e+06. */ -}}
{{- else if kindIs "float64" $here -}}{{- int64 $here -}}
{{- else -}}{{- $here -}}
{{- end -}}
{{- end -}}

{{/*
How long the service may take to end, in seconds: `shutdown.deadline` for what is in flight, or 12 s for whoever follows
somebody, and then 17 s: 3 for what was sent last, 4 for the peer, 2 for HTTP, twice 2 for the log of accesses, 2 for the
database's connections (src/app.rs, Service::end), 2 for the last spans (src/telemetry/traces.rs).
*/}}
{{- define "bridge.drainSeconds" -}}
{{- $deadline := include "bridge.seconds" (include "bridge.setting" (list . "shutdown.deadline" "25s")) | int64 -}}
{{- add (max $deadline 12) 17 -}}
{{- end -}}

{{- define "bridge.gracePeriodSeconds" -}}
{{- $atLeast := add .Values.preStopSeconds (include "bridge.drainSeconds" . | int64) -}}
{{- $given := int64 .Values.terminationGracePeriodSeconds -}}
{{- if eq $given 0 -}}
{{- add $atLeast 5 -}}
{{- else if le $given $atLeast -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, and the drain may take %d s (preStopSeconds, config.shutdown.deadline, and what follows it): say more, or 0" $given $atLeast) -}}
{{- else -}}
{{- $given -}}
{{- end -}}
{{- end -}}

{{/* The settings file of an instance. */}}
{{- define "bridge.settingsFile" -}}
{{- $v := .Values -}}
{{- $secrets := "/run/biometric-bridge" -}}
{{- $host := ternary (printf "[%s]" $v.listenAddress) $v.listenAddress (contains ":" $v.listenAddress) -}}
{{- $http := dict "bind" (printf "%s:%d" $host (int64 $v.port)) -}}
{{- with $v.tls.existingSecret -}}
{{- $_ := set $http "tls" (dict "certificate_file" (printf "%s/tls/tls.crt" $secrets) "key_file" (printf "%s/tls/tls.key" $secrets)) -}}
{{- end -}}
{{- $own := dict
  "http" $http
  "kafka" (include "bridge.kafkaSettings" . | fromYaml)
  "policy" (dict "file" "/app/config/neuros.yaml")
  "coach" (dict "enabled" $v.coach.enabled)
-}}
{{- with $v.tokens.existingSecret -}}
{{- $_ := set $own "auth" (dict "tokens_file" (printf "%s/tokens/tokens.txt" $secrets)) -}}
{{- end -}}
{{- $keys := dict -}}
{{- with $v.keys.existingSecret -}}{{- $_ := set $keys "file" (printf "%s/keys/keys.txt" $secrets) -}}{{- end -}}
{{- with $v.keys.vaultToken.existingSecret -}}{{- $_ := set $keys "vault" (dict "token_file" (printf "%s/vault/token" $secrets)) -}}{{- end -}}
{{- if $keys -}}{{- $_ := set $own "keys" $keys -}}{{- end -}}
{{- with $v.audit.existingSecret -}}
{{- $_ := set $own "audit" (dict "signing_key_file" (printf "%s/audit/audit-key.pem" $secrets)) -}}
{{- end -}}
{{- if $v.push.enabled -}}
{{- $push := dict "websocket_url" $v.push.url -}}
{{- with $v.push.existingSecret -}}{{- $_ := set $push "token_file" (printf "%s/push/token" $secrets) -}}{{- end -}}
{{- $_ := set $own "push" $push -}}
{{- end -}}
{{- with $v.coach.baseUrl -}}{{- $_ := set $own.coach "base_url" . -}}{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy $v.config) $own) -}}
{{- end -}}

{{/* What the chart itself says of Kafka. */}}
{{- define "bridge.kafkaSettings" -}}
bootstrap_servers: {{ join "," .Values.kafka.bootstrapServers | quote }}
{{- if .Values.kafka.clientCertificate.existingSecret }}
certificate_file: /run/biometric-bridge/kafka/tls.crt
key_file: /run/biometric-bridge/kafka/tls.key
{{- end }}
{{- end -}}

{{/* The settings file of a Job, which knows no more than it needs: `(list . "migration")`. */}}
{{- define "bridge.jobSettingsFile" -}}
{{- $root := index . 0 -}}
{{- $given := $root.Values.config -}}
{{- $file := dict "kafka" (include "bridge.kafkaSettings" $root | fromYaml) -}}
{{- if eq (index . 1) "topics" -}}
{{- $file = mergeOverwrite (dict "kafka" (deepCopy (default dict $given.kafka))) $file -}}
{{- /* Nothing is stored by this Job; but the built-in database is for development alone. */ -}}
{{- $_ := set $file "store" (dict "url" "sqlite:unused.db") -}}
{{- else -}}
{{- $_ := set $file.kafka "security_protocol" "ssl" -}}
{{- $_ := unset $file.kafka "certificate_file" -}}
{{- $_ := unset $file.kafka "key_file" -}}
{{- with $given.store -}}{{- $_ := set $file "store" . -}}{{- end -}}
{{- end -}}
{{- with $given.security -}}{{- $_ := set $file "security" . -}}{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{- define "bridge.policyText" -}}
{{- default (.Files.Get "files/neuros.yaml") .Values.policy.text -}}
{{- end -}}

{{/*
What is mounted below /run/biometric-bridge, for `(list . "run")` or a Job: folder, Secret, its key (none: a certificate and
its key), the file's name.
*/}}
{{- define "bridge.secrets" -}}
{{- $v := (index . 0).Values -}}
{{- $kind := index . 1 -}}
{{- $database := $v.database -}}
{{- if and (eq $kind "migration") $v.migration.database.existingSecret -}}{{- $database = $v.migration.database -}}{{- end -}}
{{- $all := list
  (dict "folder" "database" "secret" $database.existingSecret "key" $database.key "file" "url")
  (dict "folder" "keys" "secret" $v.keys.existingSecret "key" $v.keys.key "file" "keys.txt")
  (dict "folder" "key-store" "secret" $v.keys.store.existingSecret "key" $v.keys.store.key "file" "url")
  (dict "folder" "vault" "secret" $v.keys.vaultToken.existingSecret "key" $v.keys.vaultToken.key "file" "token")
  (dict "folder" "audit" "secret" $v.audit.existingSecret "key" $v.audit.key "file" "audit-key.pem")
  (dict "folder" "kafka-password" "secret" $v.kafka.password.existingSecret "key" $v.kafka.password.key "file" "password")
  (dict "folder" "kafka" "secret" $v.kafka.clientCertificate.existingSecret)
  (dict "folder" "redis" "secret" $v.redis.existingSecret "key" $v.redis.key "file" "url")
  (dict "folder" "tls" "secret" $v.tls.existingSecret)
  (dict "folder" "tokens" "secret" $v.tokens.existingSecret "key" $v.tokens.key "file" "tokens.txt")
  (dict "folder" "push" "secret" (ternary $v.push.existingSecret "" $v.push.enabled) "key" $v.push.key "file" "token")
  (dict "folder" "coach" "secret" (ternary $v.coach.existingSecret "" $v.coach.enabled) "key" $v.coach.key "file" "api-key")
-}}
{{- $folders := dict "migration" (list "database" "key-store") "topics" (list "kafka-password" "kafka") -}}
{{- $wanted := get $folders $kind -}}
{{- $used := list -}}
{{- range $all -}}
{{- if and .secret (or (not $wanted) (has .folder $wanted)) -}}{{- $used = append $used . -}}{{- end -}}
{{- end -}}
{{- toJson $used -}}
{{- end -}}

{{/* Variables of a container of the program, of an instance or a Job: `(list . "run")`. */}}
{{- define "bridge.env" -}}
{{- $root := index . 0 -}}
{{- $v := $root.Values -}}
{{- $kind := index . 1 -}}
{{- $files := dict "database" "POSTGRES_URL" "key-store" "KEYS_URL" "kafka-password" "BRIDGE__KAFKA__SASL_PASSWORD" "redis" "REDIS_URL" "coach" "OPENAI_API_KEY" -}}
- name: BRIDGE_CONFIG
  value: /app/config/bridge.yaml
{{- range $secret := include "bridge.secrets" . | fromJsonArray }}
{{- with get $files $secret.folder }}
- name: {{ . }}_FILE
  value: /run/biometric-bridge/{{ $secret.folder }}/{{ $secret.file }}
{{- end }}
{{- end }}
{{- if $v.trust.bundle }}
- name: SSL_CERT_FILE
  value: /etc/biometric-bridge/trust/{{ $v.trust.bundle }}
{{- end }}
{{- $mine := get (dict "run" "" "migration" "BRIDGE__STORE__" "topics" "BRIDGE__KAFKA__") $kind }}
{{- range $v.extraEnv }}
{{- if hasPrefix $mine .name }}
{{ list . | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Volumes of a pod: `(list . "run" configMapOfTheSettings)`. */}}
{{- define "bridge.volumes" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
- name: config
  projected:
    sources:
      - configMap:
          name: {{ index . 2 }}
          items: [{key: bridge.yaml, path: bridge.yaml}]
      {{- if eq $kind "run" }}
      - configMap:
          name: {{ default (index . 2) $root.Values.policy.existingConfigMap }}
          items: [{key: neuros.yaml, path: neuros.yaml}]
      {{- end }}
{{- with include "bridge.secrets" (list $root $kind) | fromJsonArray }}
- name: secrets
  projected:
    # 0440: readable by the group of the pod alone.
    defaultMode: 288
    sources:
      {{- range . }}
      - secret:
          name: {{ .secret }}
          items:
            {{- if .file }}
            - {key: {{ .key | quote }}, path: {{ .folder }}/{{ .file }}}
            {{- else }}
            - {key: tls.crt, path: {{ .folder }}/tls.crt}
            - {key: tls.key, path: {{ .folder }}/tls.key}
            {{- end }}
      {{- end }}
{{- end }}
{{- with $root.Values.trust.existingConfigMap }}
- name: trust
  configMap:
    name: {{ . }}
{{- end }}
{{- if eq $kind "run" }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "bridge.volumeMounts" -}}
{{- $root := index . 0 -}}
- name: config
  mountPath: /app/config
  readOnly: true
{{- if include "bridge.secrets" . | fromJsonArray }}
- name: secrets
  mountPath: /run/biometric-bridge
  readOnly: true
{{- end }}
{{- if $root.Values.trust.existingConfigMap }}
- name: trust
  mountPath: /etc/biometric-bridge/trust
  readOnly: true
{{- end }}
{{- if eq (index . 1) "run" }}
{{- with $root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}
