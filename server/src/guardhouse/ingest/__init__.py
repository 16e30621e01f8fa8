"""The door for telemetry: read, decode, a verdict per item, hand on."""
