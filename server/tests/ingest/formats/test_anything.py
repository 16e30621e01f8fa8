"""Whatever stands in an item of an import, it becomes an event or an error, and its neighbours come in."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.ingest.host_items import Batch, judge
from guardhouse.ingest.import_alerts import FORMATS, as_events, read_alert
from server.tests.ingest.formats.samples import falco, process, tetragon, tracee, tracee_v1

AT = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = Batch("tenant", "agent", None, "key", AT, AT - timedelta(days=7))
GOOD = {
    "falco": [falco(AT)],
    "tetragon": [
        tetragon(
            "exec", AT, process=process(20, 2, "/bin/sh", (10, 1), arguments="-c x"), parent={"pid": 10}
        ),
        tetragon(
            "kprobe", AT, process=process(20, 2, "/x"), function_name="sys_ptrace", args=[{"int_arg": 16}]
        ),
    ],
    "tracee": [
        tracee("connect", AT, args={"addr": {"sa_family": "AF_INET", "sin_addr": "192.0.2.1"}}),
        tracee_v1("openat", [{"name": "pathname", "str": "/x"}]),
    ],
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def spoilt(draw: st.DrawFn, named: str) -> Any:
    """Draw a good event with some of its members, at any depth, replaced or taken away."""
    event = json.loads(json.dumps(draw(st.sampled_from(GOOD[named]))))
    for _ in range(draw(st.integers(1, 4))):
        at = event
        while isinstance(at, dict) and at:
            name = draw(st.sampled_from(sorted(at)))
            if isinstance(at[name], dict) and at[name] and draw(st.booleans()):
                at = at[name]
                continue
            if draw(st.booleans()):
                at[name] = draw(anything)
            else:
                del at[name]
            break
    return event


@pytest.mark.parametrize("named", sorted(FORMATS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_item_raises_and_good_neighbours_come_in(named: str, data: st.DataObject) -> None:
    good = json.dumps(GOOD[named][0]).encode()
    others = data.draw(st.lists(st.binary(max_size=60) | spoilt(named) | anything, max_size=4))
    raws = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in others] + [good]
    events = as_events(named, raws, [read_alert(raw, FORMATS[named]) for raw in raws], None)
    verdicts = judge(FACTS, events)
    assert verdicts.total == len(verdicts.events) + len(verdicts.errors) == len(raws)
    assert len(raws) - 1 in {event.index for event in verdicts.events}
