"""The door for OpenTelemetry: logs, metrics and traces over HTTP, as protobuf or JSON (OTLP 1.x)."""
