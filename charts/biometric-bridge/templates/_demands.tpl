{{/* What values must be together, with the cure; values.schema.json has what each must be by itself. */}}
{{- define "bridge.demands" -}}
{{- $v := .Values -}}
{{- if not $v.database.existingSecret -}}
{{- fail "database.existingSecret is missing: name the Secret with the URL of the database, such as made by `kubectl create secret generic bridge-database --from-file=url=…`" -}}
{{- end -}}
{{- if not $v.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is empty: name the servers by which Kafka is found, each HOST:PORT" -}}
{{- end -}}
{{- if and (not $v.keys.existingSecret) (ne (include "bridge.setting" (list . "keys.wrapper" "file")) "vault") -}}
{{- fail "keys.existingSecret is missing, and config.keys.wrapper is not vault: health data is stored sealed or not at all; make a key file with `biometric-bridge keys generate`" -}}
{{- end -}}
{{- $open := default list (default dict $v.config.security).allow_plaintext -}}
{{- if and (not $v.tls.existingSecret) (not (has "websocket" $open)) -}}
{{- fail "tls.existingSecret is missing: name the Secret with the certificate of our port, or let config.security.allow_plaintext name websocket" -}}
{{- end -}}
{{- if and $v.push.enabled (not $v.push.url) -}}
{{- fail "push.enabled is true and push.url is empty: say where the AUREN API is" -}}
{{- end -}}
{{- if and $v.coach.enabled (not $v.coach.existingSecret) -}}
{{- fail "coach.enabled is true and coach.existingSecret is empty: name the Secret with the key of the account" -}}
{{- end -}}
{{- if and $v.trust.bundle (not $v.trust.existingConfigMap) -}}
{{- fail "trust.bundle is a key of trust.existingConfigMap, which is missing" -}}
{{- end -}}
{{- if eq (include "bridge.image" .) (printf "%s:latest" $v.image.repository) -}}
{{- fail "image.tag is latest: name a release, or a digest" -}}
{{- end -}}
{{- if and $v.policy.text $v.policy.existingConfigMap -}}
{{- fail "policy.text and policy.existingConfigMap are both set: keep one" -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if has .name (list "BRIDGE__KAFKA__GROUP_INSTANCE_ID" "BRIDGE__SHUTDOWN__DEADLINE" "BRIDGE__HTTP__BIND" "HTTP_BIND") -}}
{{- fail (printf "extraEnv sets %s, which the chart must know or must not have; see docs/decisions/0035" .name) -}}
{{- end -}}
{{- end -}}
{{- include "bridge.demandsOfNumbers" . -}}
{{- include "bridge.demandsOfNetwork" . -}}
{{- include "bridge.demandsOfMemory" . -}}
{{- end -}}

{{- define "bridge.demandsOfNumbers" -}}
{{- $v := .Values -}}
{{- $partitions := int64 $v.topics.partitions -}}
{{- if $v.autoscaling.enabled -}}
{{- if not $v.autoscaling.prometheusUrl -}}
{{- fail "autoscaling.enabled is true and autoscaling.prometheusUrl is empty: say which Prometheus scrapes the bridge" -}}
{{- end -}}
{{- if gt (int64 $v.autoscaling.maxReplicas) $partitions -}}
{{- fail (printf "autoscaling.maxReplicas is %d, and topics.partitions %d: an instance more than partitions has no lane; lower it, or run `topics expand` and raise topics.partitions" (int64 $v.autoscaling.maxReplicas) $partitions) -}}
{{- end -}}
{{- if gt (int64 $v.autoscaling.minReplicas) (int64 $v.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- else if gt (int64 $v.replicaCount) $partitions -}}
{{- fail (printf "replicaCount is %d, and topics.partitions %d: an instance more than partitions has no lane; lower it, or run `topics expand` and raise topics.partitions" (int64 $v.replicaCount) $partitions) -}}
{{- end -}}
{{- $starting := mul $v.probes.startup.periodSeconds $v.probes.startup.failureThreshold -}}
{{- if le (int64 $v.progressDeadlineSeconds) (add $starting $v.minReadySeconds) -}}
{{- fail (printf "progressDeadlineSeconds is %d, and a pod alone may take %d s to start: say more" (int64 $v.progressDeadlineSeconds) (add $starting $v.minReadySeconds)) -}}
{{- end -}}
{{- if gt (int64 $v.topics.create.minInsyncReplicas) (int64 $v.topics.create.replicationFactor) -}}
{{- fail "topics.create.minInsyncReplicas is more than topics.create.replicationFactor: nothing could be written" -}}
{{- end -}}
{{- $ping := include "bridge.seconds" (include "bridge.setting" (list . "http.socket_ping_every" "20s")) | int64 -}}
{{- if and $v.ingress.enabled (le (int64 $v.ingress.socketTimeoutSeconds) (mul 2 $ping)) -}}
{{- fail (printf "ingress.socketTimeoutSeconds is %d, not more than twice config.http.socket_ping_every: sockets would be cut between two pings" (int64 $v.ingress.socketTimeoutSeconds)) -}}
{{- end -}}
{{- end -}}

{{/* A quantity of memory, as Kubernetes writes it, in MiB. */}}
{{- define "bridge.mebibytes" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $bytes := get (dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) $unit -}}
{{- divf (mulf (trimSuffix $unit $text | float64) $bytes) 1048576 | floor | int64 -}}
{{- end -}}

{{/* As docs/performance.md has it: 35 MiB, and 2,676 bytes for each user in memory. */}}
{{- define "bridge.demandsOfMemory" -}}
{{- $limit := include "bridge.mebibytes" .Values.resources.limits.memory | int64 -}}
{{- $users := include "bridge.setting" (list . "users.live_max" 200000) | int64 -}}
{{- $least := add 35 (div (mul $users 2676) 1048576) -}}
{{- if lt $limit $least -}}
{{- fail (printf "resources.limits.memory is %d MiB, and the %d users of config.users.live_max alone take %d: raise the limit, or lower that" $limit $users $least) -}}
{{- end -}}
{{- end -}}

{{- define "bridge.demandsOfNetwork" -}}
{{- $v := .Values -}}
{{- if and $v.ingress.enabled (or (not $v.ingress.tlsSecret) (not $v.ingress.hosts)) -}}
{{- fail "ingress.enabled is true: ingress.hosts and ingress.tlsSecret belong to it, for health data does not go unencrypted" -}}
{{- end -}}
{{- if $v.networkPolicy.enabled -}}
{{- range $name, $edge := include "bridge.edges" . | fromJson -}}
{{- if and $edge.used (not $edge.to) -}}
{{- fail (printf "networkPolicy.egress.%s.to is empty, and is in use: say where it is, as a list of NetworkPolicyPeer" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.networkPolicy.ingress.clients) -}}
{{- fail "networkPolicy.ingress.clients is empty and ingress.enabled is true: name the pods of the ingress controller" -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled (not $v.networkPolicy.ingress.prometheus) -}}
{{- fail "networkPolicy.ingress.prometheus is empty and serviceMonitor.enabled is true: name the pods of Prometheus" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whom an instance speaks to, by the names below networkPolicy.egress, and whether it does. */}}
{{- define "bridge.edges" -}}
{{- $v := .Values -}}
{{- $traces := ne "" (include "bridge.setting" (list . "traces.endpoint" "")) -}}
{{- range $v.extraEnv -}}
{{- if has .name (list "OTEL_EXPORTER_OTLP_ENDPOINT" "BRIDGE__TRACES__ENDPOINT") -}}{{- $traces = true -}}{{- end -}}
{{- end -}}
{{- $used := dict
  "dns" true
  "postgres" true
  "kafka" true
  "keyStore" (not (empty $v.keys.store.existingSecret))
  "redis" (not (empty $v.redis.existingSecret))
  "vault" (ne "" (include "bridge.setting" (list . "keys.vault.url" "")))
  "issuer" (ne "" (include "bridge.setting" (list . "auth.jwks_url" "")))
  "peer" $v.push.enabled
  "coach" $v.coach.enabled
  "telemetry" (or $traces (not (empty $v.networkPolicy.egress.telemetry.to)))
-}}
{{- $edges := dict -}}
{{- range $name, $is := $used -}}
{{- $edge := get $v.networkPolicy.egress $name -}}
{{- $_ := set $edges $name (dict "used" $is "to" $edge.to "ports" $edge.ports) -}}
{{- end -}}
{{- toJson $edges -}}
{{- end -}}

{{/* Egress rules for those of the edges that are named and in use: `(list . (list "dns" "postgres"))`. */}}
{{- define "bridge.egress" -}}
{{- $edges := include "bridge.edges" (index . 0) | fromJson -}}
{{- range $name := index . 1 }}
{{- $edge := get $edges $name }}
{{- if $edge.used }}
- to:
    {{- toYaml $edge.to | nindent 4 }}
  ports:
    {{- range $edge.ports }}
    {{- if eq $name "dns" }}
    - {protocol: UDP, port: {{ int64 . }}}
    {{- end }}
    - {protocol: TCP, port: {{ int64 . }}}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}
