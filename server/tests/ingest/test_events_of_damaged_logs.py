"""The door takes every event that the agent's readers make of damaged logs: damage must not hide an event."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from agent.tests.watch.mangled_logs import FORMATS, damaged_log
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.redact import redact_event
from guardhouse.ingest.host_items import Batch, decode_item, judge

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_no_event_of_a_damaged_log_is_refused(name: str, seed: int) -> None:
    form = FORMATS[name]
    log = damaged_log(random.Random(seed), form, 60)
    events = [redact_event(event) for event in form.read(log, ReadReport())]
    items = [decode_item(json.dumps(event, ensure_ascii=False).encode()) for event in events]
    batch = Batch("0198c0de-0000-7000-8000-000000000001", "web-1", "s", "k", NOW, NOW - timedelta(days=7))
    refused = {
        index: error for index, error in judge(batch, items).errors.items() if error.code != "event_too_old"
    }
    assert len(events) >= 60
    assert refused == {}
