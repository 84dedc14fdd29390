{{- if .Values.ingress.enabled }}
kind: Ingress
{{- end }}
