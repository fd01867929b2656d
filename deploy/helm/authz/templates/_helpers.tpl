{{/* Names and labels. Each name begins with that of the release, so that two releases share a namespace. */}}
{{- define "authz.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride }}
{{- else if contains "authz" .Release.Name -}}{{ .Release.Name }}
{{- else -}}{{ .Release.Name }}-authz{{- end -}}
{{- end }}

{{/* Labels that select the pods of a component: (list $ "gateway"). */}}
{{- define "authz.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object of a component. */}}
{{- define "authz.labels" -}}
{{- $root := index . 0 -}}
{{ include "authz.selector" . }}
app.kubernetes.io/part-of: authz
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- define "authz.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "authz.storeUrl" -}}
{{- if .Values.valkey.enabled -}}redis://{{ include "authz.fullname" . }}-valkey:6379/0
{{- else -}}{{ .Values.store.url }}{{- end -}}
{{- end }}

{{/* A list of peppers as the settings want it, as JSON: the versions. */}}
{{- define "authz.peppers" -}}
{{- $found := list -}}
{{- range . -}}
{{- $found = append $found (dict "version" . "file" (printf "/etc/authz/pepper/pepper-%s" .)) -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* The settings: the shipped file, the values of this chart, and `settings`. */}}
{{- define "authz.settings" -}}
{{- $found := .Files.Get "files/authz.yaml" | fromYaml -}}
{{- $_ := set $found.redis "url" (include "authz.storeUrl" .) -}}
{{- $_ := set $found.keys "peppers" (include "authz.peppers" .Values.pepper.versions | fromJsonArray) -}}
{{- if .Values.store.caSecret -}}
{{- $_ := set $found.redis "tls" (dict "ca" "/etc/authz/store-ca/ca.crt") -}}
{{- end -}}
{{- if .Values.gateway.trustedProxies -}}
{{- $_ := set $found "extract" (dict "client_address" "x-envoy-external-address") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $found (deepCopy .Values.settings)) -}}
{{- end }}

{{/* Upstream filters of the cluster authz_usage: the token of the meter, from the environment. */}}
{{- define "authz.sendToken" }}
          http_filters:
            - name: envoy.filters.http.header_mutation
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
                mutations:
                  request_mutations:
                    - append:
                        header: { key: authorization, value: "Bearer %ENVIRONMENT(AUTHZ_METER_TOKEN)%" }
                        append_action: OVERWRITE_IF_EXISTS_OR_ADD
            - name: envoy.filters.http.upstream_codec
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
{{- end }}

{{/* The shipped Envoy: only the backend, the trusted proxies and the place of the meter are yours. */}}
{{- define "authz.envoy" -}}
{{- if .Values.gateway.envoyConfig -}}
{{- .Values.gateway.envoyConfig -}}
{{- else -}}
{{- $found := .Files.Get "files/envoy.yaml" -}}
{{- $found = $found | replace "{ address: backend, port_value: 80 }" (printf "{ address: %s, port_value: %d }" .Values.backend.host (int .Values.backend.port)) -}}
{{- $found = $found | replace "xff_num_trusted_hops: 0 " (printf "xff_num_trusted_hops: %d " (int .Values.gateway.trustedProxies)) -}}
{{- if eq .Values.meter.mode "deployment" -}}
{{- $found = $found | replace "name: authz_usage\n      type: STATIC" "name: authz_usage\n      type: STRICT_DNS" -}}
{{- $found = $found | replace "{ pipe: { path: /run/authz/meter.sock } }" (printf "{ socket_address: { address: %s-usage, port_value: 9195 } }" (include "authz.fullname" .)) -}}
{{- $before := "            http2_protocol_options:\n              connection_keepalive: { interval: 30s, timeout: 5s }\n" -}}
{{- $found = $found | replace $before (printf "%s%s\n" $before (include "authz.sendToken" . | trimPrefix "\n")) -}}
{{- end -}}
{{- $found -}}
{{- end -}}
{{- end }}
