"""The stored telemetry event: identify, write, read, partition."""
