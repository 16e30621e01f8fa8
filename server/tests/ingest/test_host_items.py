"""Verdicts on single items: one test per row of the table of bad input, and what no input may ever do."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers, QueryParams

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.explain import explain, explain_tree
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events.identify import identifier, milliseconds_of
from guardhouse.events.read import risk_event
from guardhouse.events.store import CLAMPED, UNTIMED, StoredEvent
from guardhouse.events.wire import event_shape
from guardhouse.events.write_process import Fields, NewEvent
from guardhouse.ingest.host_batch import JSON, read_batch
from guardhouse.ingest.host_items import Batch, HostEvent, Verdicts, decode_item, judge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = b'{"pid":1,"syscall":"good"}'


def facts(**changed: Any) -> Batch:
    values: dict[str, Any] = {
        "tenant": "0198c0de-0000-7000-8000-000000000001",
        "agent": "web-1",
        "stream": None,
        "key": "batch-1",
        "received_at": NOW,
        "oldest": NOW - timedelta(days=7),
    }
    return Batch(**values | changed)


def verdicts(*items: bytes, **changed: Any) -> Verdicts:
    """Judge items between two good ones, the way a body brings them."""
    body = b'{"events":[' + b",".join([GOOD, *items, GOOD]) + b"]}"
    batch = read_batch(Headers({"content-type": JSON}), QueryParams(), body)
    return judge(facts(**changed), batch.items)


def one(item: bytes, **changed: Any) -> NewEvent:
    """Return the event of one item that must be good, as its neighbours must."""
    found = verdicts(item, **changed)
    assert not found.errors, found.errors
    return {event.index: event for event in found.events}[1]


def refused(item: bytes) -> tuple[str, str | None]:
    """Return code and field of the one refusal; its neighbours must live."""
    found = verdicts(item)
    assert [event.index for event in found.events] == [0, 2]
    assert list(found.errors) == [1]
    return found.errors[1].code, found.errors[1].field


def fields(event: NewEvent) -> Fields:
    return Fields() if event.fields is None else msgspec.msgpack.decode(event.fields, type=Fields)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (b"1", None),
        (b'"x"', None),
        (b"null", None),
        (b"[]", None),
        (b'{"syscall":"read"}', "pid"),
        (b'{"pid":-4,"syscall":"read"}', "pid"),
        (b'{"pid":4194305,"syscall":"read"}', "pid"),
        (b'{"pid":1.0,"syscall":"read"}', "pid"),
        (b'{"pid":"1","syscall":"read"}', "pid"),
        (b'{"pid":true,"syscall":"read"}', "pid"),
        (b'{"pid":1}', "kind"),
        (b'{"pid":1,"syscall":"Read"}', "syscall"),
        (b'{"pid":1,"syscall":"read\\n"}', "syscall"),
        (b'{"pid":1,"syscall":""}', "syscall"),
        (b'{"pid":1,"kind":"dance","syscall":"read"}', "kind"),
        (b'{"pid":1,"kind":"call"}', "syscall"),
        (b'{"pid":1,"kind":"calls"}', "names"),
        (b'{"pid":1,"kind":"calls","names":[]}', "names"),
        (b'{"pid":1,"kind":"calls","names":["read\\n"]}', "names[0]"),
        (b'{"pid":1,"kind":"fork"}', "child_pid"),
        (b'{"pid":1,"syscall":"read","id":"a\\n"}', "id"),
        (b'{"pid":1,"syscall":"read","id":""}', "id"),
        (b'{"pid":1,"syscall":"read","seq":-1}', "seq"),
        (b'{"pid":1,"syscall":"read","seq":4611686018427387905}', "seq"),
        (b'{"pid":1,"syscall":"read","start":9223372036854775808}', "start"),
        (b'{"pid":1,"syscall":"read","timestamp":"2026-03-01T12:00:00"}', "timestamp"),
        (b'{"pid":1,"syscall":"read","timestamp":"yesterday"}', "timestamp"),
        (b'{"pid":1,"syscall":"read","timestamp":NaN}', "timestamp"),
        (b'{"pid":1,"syscall":"read","timestamp":1.5}', "timestamp"),
        (b'{"pid":1,"syscall":"read","timestamp":9223372036854775808}', "timestamp"),
        (b'{"pid":1,"syscall":"read","timestamp":"0001-01-01T00:00:00+14:00"}', "timestamp"),
        (b'{"pid":1,"syscall":"read","timestamp":"9999-12-31T23:59:59-14:00"}', "timestamp"),
        (b'{"pid":1,"syscall":"read","args":[]}', "args"),
        (b'{"pid":1,"syscall":"read","args":{"argv":"sh"}}', "args.argv"),
        (b'{"pid":1,"syscall":"read","args":{"argv":[1]}}', "args.argv"),
        (b'{"pid":1,"syscall":"read","metadata":"x"}', "metadata"),
        (b'{"pid":1,"syscall":"read","args":{"x":1e999}}', "args[...]"),
        (b'{"pid":1,"syscall":}', None),
    ],
)
def test_what_is_invalid_is_named_and_costs_only_itself(item: bytes, field: str | None) -> None:
    assert refused(item) == ("event_invalid", field)


def test_what_is_too_large_is_refused() -> None:
    head = b'{"pid":1,"syscall":"execve",'
    assert refused(head + b'"metadata":{"x":"' + b"y" * 4100 + b'"}}') == ("event_too_large", "metadata")
    assert refused(head + b'"metadata":{"x":' + b"[" * 6 + b"]" * 6 + b"}}") == (
        "event_too_large",
        "metadata",
    )
    assert refused(head + b'"args":{"x":' + b"[" * 6 + b"]" * 6 + b"}}") == ("event_too_large", "args")
    assert refused(head + b'"args":{"x":[{"y":' + b"[" * 300 + b"]" * 300 + b"}]}}") == (
        "event_too_large",
        "args",
    )
    argv = json.dumps(["x"] * 65).encode()
    assert refused(head + b'"args":{"argv":' + argv + b"}}") == ("event_too_large", "args.argv")
    argv = json.dumps(["x" * 1025] * 4).encode()
    assert refused(head + b'"args":{"argv":' + argv + b"}}") == ("event_too_large", "args.argv")
    many = json.dumps({f"k{n}": "v" * 4000 for n in range(5)}).encode()
    assert refused(head + b'"args":' + many + b"}") == ("event_too_large", None)


def test_what_just_fits_is_taken() -> None:
    assert fields(one(b'{"pid":1,"syscall":"a","args":{"x":' + b"[" * 5 + b"]" * 5 + b"}}")).args
    assert one(b'{"pid":0,"syscall":"a"}').pid == 0
    assert one(b'{"pid":4194304,"syscall":"a","seq":4611686018427387904}').pid == 4194304
    assert one(b'{"kind":"loss","count":7,"where":"kernel"}').pid is None
    assert one(b'{"pid":1,"syscall":"never_heard_of"}').call == "never_heard_of"


@pytest.mark.parametrize("levels", [200, 500, 900, 980, 990, 994, 1000, 5000])
@pytest.mark.parametrize("place", ["args", "metadata", "unknown"])
@pytest.mark.parametrize("lenient", ["", '"n":NaN,', '"n":"\\u0000",'])
def test_no_depth_raises(levels: int, place: str, lenient: str) -> None:
    deep = "[" * levels + "]" * levels
    found = verdicts(f'{{"pid":1,"syscall":"a",{lenient}"{place}":{{{lenient}"x":{deep}}}}}'.encode())
    assert {0, 2} <= {event.index for event in found.events}


def test_an_event_of_an_application_among_those_of_a_host_is_the_wrong_family() -> None:
    assert refused(b'{"event_type":"penetration_attempt"}') == ("wrong_family", None)


def test_too_old_is_refused_and_the_far_future_is_set_to_the_receipt() -> None:
    old, edge = NOW - timedelta(days=7, seconds=1), NOW - timedelta(days=7)
    assert refused(f'{{"pid":1,"syscall":"a","timestamp":"{old.isoformat()}"}}'.encode()) == (
        "event_too_old",
        "timestamp",
    )
    assert one(f'{{"pid":1,"syscall":"a","timestamp":"{edge.isoformat()}"}}'.encode()).occurred_at == edge
    ahead = NOW + timedelta(minutes=5, seconds=1)
    event = one(f'{{"pid":1,"syscall":"a","timestamp":"{ahead.isoformat()}"}}'.encode())
    assert (event.occurred_at, event.claimed_at, event.flags) == (NOW, ahead, CLAMPED)
    assert (
        verdicts(f'{{"pid":1,"syscall":"a","timestamp":"{ahead.isoformat()}"}}'.encode()).skew_ms == 301_000
    )
    near = NOW + timedelta(minutes=5)
    assert one(f'{{"pid":1,"syscall":"a","timestamp":"{near.isoformat()}"}}'.encode()).occurred_at == near
    assert one(b'{"pid":1,"syscall":"a","timestamp":9223372036854775807}').flags == CLAMPED


def test_times_are_rfc_3339_or_nanoseconds_and_absent_means_receipt() -> None:
    moment = datetime(2026, 3, 1, 11, 59, 59, 123456, tzinfo=UTC)
    ns = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    for told in (
        '"2026-03-01T11:59:59.123456Z"',
        '"2026-03-01T13:59:59.123456+02:00"',
        str(ns),
        str(ns + 999),
    ):
        event = one(f'{{"pid":1,"syscall":"a","timestamp":{told}}}'.encode())
        assert (event.occurred_at, event.claimed_at, event.flags) == (moment, None, 0)
        assert event.occurred_at.tzinfo is UTC
    assert (one(GOOD).occurred_at, one(GOOD).flags) == (NOW, UNTIMED)


def test_what_the_database_cannot_hold_is_replaced() -> None:
    assert fields(one(b'{"pid":1,"syscall":"a","exe":"a\\u0000b"}')).exe == "a\u2400b"
    assert fields(one(b'{"pid":1,"syscall":"a","exe":"a\x00b"}')).exe == "a\u2400b"
    assert fields(one(b'{"pid":1,"syscall":"a","exe":"\\ud800b"}')).exe == "\ufffdb"
    assert fields(one(b'{"pid":1,"syscall":"a","exe":"\xffb"}')).exe == "\ufffdb"
    assert fields(one(b'{"pid":1,"syscall":"a","metadata":{"a\\u0000":NaN,"b":-Infinity}}')).metadata == {
        "a\u2400": "NaN",
        "b": "-Infinity",
    }


def test_integers_beyond_64_bits_are_kept_as_text() -> None:
    big = 2**64
    event = one(
        f'{{"pid":1,"syscall":"a","args":{{"x":[{big},{big - 1}]}},"metadata":{{"y":-{big}}}}}'.encode()
    )
    assert (fields(event).args, fields(event).metadata) == ({"x": [str(big), big - 1]}, {"y": f"-{big}"})


def test_an_event_that_says_nothing_more_stores_nothing_more() -> None:
    assert one(b'{"pid":1,"syscall":"a","args":{},"metadata":{}}').fields is None


def test_ids_follow_the_source_and_the_events_own_time() -> None:
    make = identifier("0198c0de-0000-7000-8000-000000000001", "web-1")
    at = '"timestamp":"2026-03-01T11:00:00.5Z"'
    ms = milliseconds_of(one(f'{{"pid":1,"syscall":"a",{at}}}'.encode()).event_id)
    assert ms == 1772362800500
    item = f'{{"pid":1,"syscall":"a",{at},"seq":5,"id":"x"}}'.encode()
    assert one(item, stream="s").event_id == make(ms, "s:5")
    assert one(item).event_id == make(ms, "x")
    assert one(f'{{"pid":1,"syscall":"a",{at}}}'.encode()).event_id == make(ms, "batch-1:1")


def test_order_is_by_seq_when_every_event_has_one_and_by_index_otherwise() -> None:
    items = [b'{"pid":1,"syscall":"a","seq":%d}' % seq for seq in (3, 1, 2)]
    body = b'{"events":[' + b",".join(items) + b"]}"
    batch = read_batch(Headers({"content-type": JSON}), QueryParams(), body)
    assert [event.index for event in judge(facts(stream="s"), batch.items).events] == [1, 2, 0]
    assert [event.index for event in judge(facts(), batch.items).events] == [0, 1, 2]
    assert [event.index for event in verdicts(*items, stream="s").events] == [0, 1, 2, 3, 4]


# Properties.

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(1 << 70), max_value=1 << 70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["/etc/shadow", "/bin/sh", "/srv/x", "inet", "memfd:x", "O_WRONLY", "\0", "\ud800", "socket:[1]"]
    )
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["ip", "port", "family", "path"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
names = st.sampled_from([*HostEvent.__struct_fields__, "from", "to", "unknown"])
argument_names = st.sampled_from(
    [
        "path", "path2", "flags", "mode", "fd", "newfd", "fd_kind", "addr", "target_pid", "request", "uid", "argv",
        "inode", "len", "name", "zzz",
    ]
)  # fmt: skip
calls = st.sampled_from(
    [
        "execve", "execveat", "openat", "open", "connect", "accept4", "listen", "dup2", "dup3", "socket", "ptrace",
        "process_vm_writev", "memfd_create", "chmod", "fchmodat", "rename", "renameat2", "unlink", "setuid",
        "init_module", "mount", "unshare", "fcntl", "close", "sendto", "write", "clone", "fork", "creat",
    ]
)  # fmt: skip
kinds = st.sampled_from(["call", "exec", "fork", "exit", "calls", "finding", "loss", "inventory"])
pids = st.integers(min_value=0, max_value=5)
starts = st.none() | st.integers(min_value=0, max_value=3)
wild_events = st.dictionaries(names, anything, max_size=8)
likely_events = st.fixed_dictionaries(
    {"pid": pids, "kind": kinds, "syscall": calls},
    optional={
        "start": starts,
        "ppid": pids,
        "tid": pids,
        "child_pid": pids,
        "child_start": starts,
        "exe": st.sampled_from(["/bin/sh", "/usr/bin/id", "/srv/x", "", "memfd:a (deleted)"]),
        "comm": st.text(max_size=5),
        "args": st.dictionaries(argument_names, anything, max_size=5),
        "ret": st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1),
        "errno": st.sampled_from(["EACCES", ""]),
        "names": st.lists(calls, min_size=1, max_size=5),
        "count": st.integers(min_value=0, max_value=(1 << 63) - 1),
        "code": st.integers(min_value=-5, max_value=5),
        "rule": st.text(max_size=5),
        "priority": st.sampled_from(["critical", "Warning", "odd"]),
        "source": st.text(max_size=5),
        "tags": st.lists(st.text(max_size=5), max_size=3),
        "seq": st.integers(min_value=0, max_value=9),
        "timestamp": st.integers(min_value=-30, max_value=600).map(
            lambda s: (NOW + timedelta(seconds=s)).isoformat()
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(wild_events | likely_events | anything, max_size=6), st.none() | st.just("s"))
def test_no_json_raises_and_good_neighbours_survive(items: list[Any], stream: str | None) -> None:
    found = verdicts(*(json.dumps(item).encode() for item in items), stream=stream)
    last = len(items) + 1
    assert sorted([*(event.index for event in found.events), *found.errors]) == list(range(last + 1))
    assert {0, last} <= {event.index for event in found.events}
    for event in found.events:
        assert b"\0" not in msgspec.json.encode(fields(event))
        assert event.occurred_at.tzinfo is UTC
        assert facts().oldest <= event.occurred_at <= NOW + timedelta(minutes=5)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_raise(raw: bytes) -> None:
    assert decode_item(raw) is not None


@settings(max_examples=100, deadline=None)
@given(st.lists(likely_events | wild_events, max_size=25))
def test_whatever_is_accepted_can_be_scored_stored_and_shown(items: list[Any]) -> None:
    """One event that the engine or a page cannot take would hold its agent up for ever."""
    found = verdicts(*(json.dumps(item).encode() for item in items))
    engine = AgentEngine(RuleSet.builtin())
    for position, event in enumerate(found.events, 1):
        stored = as_stored(event, position)
        event_shape(stored).model_dump_json()
        read: RiskEvent = risk_event(stored)
        effects = engine.apply(read)
        if effects is not None:
            for row in effects.rows:
                text = msgspec.json.encode([row.evidence, row.reasons])
                assert b"\\u0000" not in text
            for given_on in effects.inputs:
                assert b"\\u0000" not in msgspec.json.encode(given_on.data)
    for dirty in engine.take_dirty():
        assert "\0" not in f"{dirty.summary.exe}{dirty.summary.comm}"
        process = engine.instances.states[dirty.key]
        msgspec.json.encode(explain(engine, process, "web-1"))
        msgspec.json.encode(explain_tree(engine, engine.instances.states[process.root], "web-1"))
    engine.pack_agent()


def as_stored(event: NewEvent, position: int) -> StoredEvent:
    return StoredEvent(
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        received_at=NOW,
        claimed_at=event.claimed_at,
        agent_no=1,
        agent_id="web-1",
        position=position,
        start=event.start,
        ret=event.ret,
        pid=event.pid,
        tid=event.tid,
        kind=event.kind,
        flags=event.flags,
        call=event.call,
        fields=event.fields,
        boot_id="",
        alphabet="native.v1",
    )
