"""Telemetry of in-app agents as stored: security events, metrics, roll-ups of noise."""
