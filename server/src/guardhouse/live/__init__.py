"""Notices streamed to clients as server-sent events."""
