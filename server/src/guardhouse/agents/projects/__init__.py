"""Projects: what the telemetry of one application belongs to, and how it is taken."""
