"""Tests here have a door with one tenant over a database whose clock stands five minutes past noon."""

from server.tests.components.door_at_noon import door, resources
from server.tests.events.ips.conftest import clock

__all__ = ["clock", "door", "resources"]
