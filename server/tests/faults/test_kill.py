"""A platform whose processes are killed at random moments under load: nothing acknowledged is lost or doubled.

The same as a program, for longer: `python server/tests/faults/kill_loop.py --kills 500 --seed 1`.
"""

import pytest

from server.tests.faults import kill_loop

KILLS = 15


@pytest.mark.timeout(400)
def test_kill_9_under_load_loses_and_doubles_nothing() -> None:
    report = kill_loop.run(KILLS, seed=20260301, longest_pause=0.7)
    assert report.faults == []
    assert sum(report.kills.values()) == KILLS
    assert report.events > 0
    assert report.incidents > 0
    assert report.notices > 0
    assert report.score_rows > 0
