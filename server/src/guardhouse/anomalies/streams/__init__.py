"""Streams: a tenant's ordered sequences of comparable events, stored in immutable segments."""
