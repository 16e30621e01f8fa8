"""Keys with which a project's envelopes are opened, and secrets with which its payloads are signed."""
