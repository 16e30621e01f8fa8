"""Signing in and out over HTTP: sessions and one-time links."""
