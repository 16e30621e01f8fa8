"""Tests here have a door with one tenant."""

from server.tests.ingest.conftest import door

__all__ = ["door"]
