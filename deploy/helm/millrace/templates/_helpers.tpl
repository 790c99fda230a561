{{- define "millrace.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of { root, part }: what a pod is found by. */}}
{{- define "millrace.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* With a broker workers and server are apart; without one they share the topics on a disk. */}}
{{- define "millrace.apart" -}}
{{- if .Values.config.KAFKA_BOOTSTRAP_SERVERS -}}yes{{- end -}}
{{- end -}}

{{- define "millrace.secret" -}}
{{- .Values.existingSecret | default (include "millrace.fullname" .) -}}
{{- end -}}

{{/* Of { root, part, verb, resources, serves }: the pod. */}}
{{- define "millrace.pod" -}}
{{- $root := .root -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: {{ .part }}
    image: {{ printf "%s:%s" $root.Values.image.repository ($root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args:
      - {{ .verb }}
      {{- range $root.Values.pipelines }}
      - {{ . | quote }}
      {{- end }}
    envFrom:
      - configMapRef:
          name: {{ include "millrace.fullname" $root }}
      {{- if or $root.Values.existingSecret $root.Values.secrets }}
      - secretRef:
          name: {{ include "millrace.secret" $root }}
      {{- end }}
    env:
      - name: MILLRACE_DATA
        value: /data
      {{- if .serves }}
      - name: HOST
        value: 0.0.0.0
      - name: PORT
        value: "4040"
      - name: API_TOKENS_FILE
        value: /etc/millrace/tokens.json
      {{- end }}
      {{- with $root.Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if .serves }}
    ports:
      - name: http
        containerPort: 4040
    # it answers before the database does
    startupProbe:
      httpGet: { path: /health/live, port: http }
      periodSeconds: 2
      failureThreshold: 60
    livenessProbe:
      httpGet: { path: /health/live, port: http }
      periodSeconds: 10
      timeoutSeconds: 5
    readinessProbe:
      httpGet: { path: /health/ready, port: http }
      periodSeconds: 10
      timeoutSeconds: 5
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - name: data
        mountPath: /data
      - name: tmp
        mountPath: /tmp
      {{- if .serves }}
      - name: tokens
        mountPath: /etc/millrace
        readOnly: true
      {{- end }}
volumes:
  - name: data
    {{- if and $root.Values.persistence.enabled .keeps }}
    persistentVolumeClaim:
      claimName: {{ $root.Values.persistence.existingClaim | default (include "millrace.fullname" $root) }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: tmp
    emptyDir: {}
  {{- if .serves }}
  - name: tokens
    secret:
      secretName: {{ required "tokensSecret must name a Secret with tokens.json: the server answers other machines, and asks each for a token" $root.Values.tokensSecret }}
  {{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of { root, part, verb, replicas, resources, serves, keeps }. */}}
{{- define "millrace.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "millrace.fullname" .root }}-{{ .part }}
  labels:
    {{- include "millrace.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas }}
  {{- if and .keeps .root.Values.persistence.enabled (ne .root.Values.persistence.accessMode "ReadWriteMany") }}
  # the disk can be in one place only
  strategy:
    type: Recreate
  {{- end }}
  selector:
    matchLabels:
      {{- include "millrace.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "millrace.labels" . | nindent 8 }}
      annotations:
        # what is told anew is heard by new pods
        millrace/told: {{ printf "%s %s" (toJson .root.Values.config) (toJson .root.Values.secrets) | sha256sum }}
    spec:
      {{- include "millrace.pod" . | nindent 6 }}
{{- end -}}
