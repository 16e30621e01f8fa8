"""Tests here have a door with one tenant over a database whose clock stands at noon."""

from server.tests.components.door_at_noon import clock, door, host, resources

__all__ = ["clock", "door", "host", "resources"]
