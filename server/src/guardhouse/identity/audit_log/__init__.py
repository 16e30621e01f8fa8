"""The audit log over HTTP, and its daily check."""
