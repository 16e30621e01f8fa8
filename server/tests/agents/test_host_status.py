from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from guardhouse.agents.host_status import SILENT_AFTER, filter_of, status_of
from guardhouse.agents.store import HostAgent, Stream
from guardhouse.foundation.database import TenantKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGENT = HostAgent(1, TenantKey(UUID(int=1), 1), "a", "a", None, {}, ("rfc9421",), 1, None, None, NOW)


@pytest.mark.parametrize(
    ("ago", "status"),
    [
        (None, "new"),
        (timedelta(0), "active"),
        (SILENT_AFTER - timedelta(microseconds=1), "active"),
        (SILENT_AFTER, "silent"),
        (timedelta(seconds=-5), "active"),
    ],
)
def test_status(ago: timedelta | None, status: str) -> None:
    assert status_of(replace(AGENT, last_seen=None if ago is None else NOW - ago), NOW) == status


def test_filters_agree_with_the_status() -> None:
    assert filter_of("new", None, NOW).never_seen
    assert filter_of("silent", None, NOW).seen_before == NOW - SILENT_AFTER
    assert filter_of("active", "x", NOW).seen_after == NOW - SILENT_AFTER
    assert filter_of(None, "x", NOW).query == "x"


def test_missing_is_never_negative() -> None:
    assert Stream("s", None, None, 1, 10, 12, seq_reused=True).missing == 0
