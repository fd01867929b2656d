{{/* PodSecurity "restricted", for pods with our image only. */}}
{{- define "authz.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "authz.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "authz.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Mounts of every container with the settings. */}}
{{- define "authz.settingsMounts" -}}
- { name: settings, mountPath: /etc/authz/authz.yaml, subPath: authz.yaml, readOnly: true }
{{- if .Values.store.caSecret }}
- { name: store-ca, mountPath: /etc/authz/store-ca, readOnly: true }
{{- end }}
{{- end }}

{{/* Volumes of every pod with the settings. */}}
{{- define "authz.settingsVolumes" -}}
- name: settings
  configMap: { name: {{ include "authz.fullname" . }}-settings }
{{- with .Values.store.caSecret }}
- name: store-ca
  secret: { secretName: {{ . | quote }}, defaultMode: 288, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- end }}

{{- define "authz.pepperVolume" -}}
- name: pepper
  secret: { secretName: {{ .Values.pepper.secret | quote }}, defaultMode: 288 }  # 0440
{{- end }}

{{/* The password of one user of the store: (list $ "store" "sidecar"), volume and key. */}}
{{- define "authz.passwordVolume" -}}
- name: {{ index . 1 }}
  secret:
    secretName: {{ (index . 0).Values.store.secret | quote }}
    defaultMode: 288  # 0440
    items: [{ key: {{ index . 2 }}, path: {{ index . 2 }} }]
{{- end }}

{{/* Annotations that replace the pods when the settings change. */}}
{{- define "authz.checksum" -}}
checksum/settings: {{ include "authz.settings" . | sha256sum }}
{{- end }}

{{/* The sidecar: it starts before the proxy, stops after it, and restarts on its own. */}}
{{- define "authz.sidecar" -}}
- name: authz
  image: {{ include "authz.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: [serve]
  ports:
    - { name: ops, containerPort: 9192 }
    - { name: health, containerPort: 9195 }
  # The proxy starts once authz listens. Readiness would be wrong here: it needs the store, and
  # restarts do not repair a store that is down or not initialised.
  startupProbe:
    grpc: { port: 9195, service: liveness }
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    grpc: { port: 9195, service: readiness }
    periodSeconds: 2
    timeoutSeconds: 2
  # Liveness does not depend on the store either.
  livenessProbe:
    grpc: { port: 9195, service: liveness }
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532  # owns the socket
    {{- include "authz.locked" . | nindent 4 }}
  volumeMounts:
    - { name: run, mountPath: /run/authz }
    {{- include "authz.settingsMounts" . | nindent 4 }}
    - { name: pepper, mountPath: /etc/authz/pepper, readOnly: true }
    - { name: store, mountPath: /etc/authz/store, readOnly: true }
{{- end }}

{{/* A meter beside the sidecar: it stops after the proxy, and so gets the last records. No readiness
     probe: a meter without its store must not take the gateway out of service. */}}
{{- define "authz.podMeter" -}}
- name: meter
  image: {{ include "authz.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: [meter, --listen, "unix:/run/authz/meter.sock", --ops, "0.0.0.0:9196"]
  env:
    - { name: AUTHZ_REDIS__USERNAME, value: authz-meter }
    - { name: AUTHZ_REDIS__PASSWORD_FILE, value: /etc/authz/store/meter }
  ports:
    - { name: usage-ops, containerPort: 9196 }
  livenessProbe:
    httpGet: { path: /healthz, port: 9196 }
    periodSeconds: 10
  resources:
    {{- toYaml .Values.meter.resources | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532  # owns the socket
    {{- include "authz.locked" . | nindent 4 }}
  volumeMounts:
    - { name: run, mountPath: /run/authz }
    {{- include "authz.settingsMounts" . | nindent 4 }}
    - { name: meter, mountPath: /etc/authz/store, readOnly: true }
{{- end }}

{{/* The meter starts first, and so stops last. */}}
{{- define "authz.initContainers" -}}
{{- if eq .Values.meter.mode "pod" -}}
{{ include "authz.podMeter" . }}
{{ end -}}
{{ include "authz.sidecar" . }}
{{- end }}

{{/* Volumes of the pod of a gateway. */}}
{{- define "authz.gatewayVolumes" -}}
- name: run
  emptyDir: { medium: Memory, sizeLimit: 128Mi }
{{ include "authz.settingsVolumes" . }}
{{ include "authz.pepperVolume" . }}
{{ include "authz.passwordVolume" (list . "store" "sidecar") }}
{{- if eq .Values.meter.mode "pod" }}
{{ include "authz.passwordVolume" (list . "meter" "meter") }}
{{- end }}
{{- end }}

{{/* Environment of the processes that change keys: another user of the store, and the peppers that mint. */}}
{{- define "authz.adminEnv" -}}
- { name: AUTHZ_REDIS__USERNAME, value: authz-admin }
- { name: AUTHZ_REDIS__PASSWORD_FILE, value: /etc/authz/store/admin }
- name: AUTHZ_KEYS__PEPPERS
  value: {{ include "authz.peppers" (.Values.pepper.issueVersions | default .Values.pepper.versions) | squote }}
{{- end }}

{{- define "authz.storePort" -}}
{{ regexFind ":[0-9]+(/|$)" (include "authz.storeUrl" .) | trimAll ":/" | default "6379" }}
{{- end }}

{{/* Egress of pods that use the store and nothing else. */}}
{{- define "authz.storeEgress" -}}
- ports:
    {{- range .Values.store.ports | default (list (include "authz.storePort" .)) }}
    - { port: {{ int . }} }
    {{- end }}
- ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
{{- end }}
