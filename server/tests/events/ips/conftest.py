"""Tests here have a door with one tenant over a database whose clock stands five minutes past noon."""

import pytest

from guardhouse.foundation.clock import SetClock
from server.tests.components.door_at_noon import door, resources
from server.tests.components.hosts import noon

__all__ = ["clock", "door", "resources"]


@pytest.fixture
def clock() -> SetClock:
    standing = noon()
    standing.move(300)  # in the middle of the ten minutes that counts are kept by
    return standing
