"""Which family a batch is of: the rules in their order."""

import pytest
from starlette.datastructures import Headers

from guardhouse.ingest.decode_body import split_body
from guardhouse.ingest.tell_family import (
    UnknownEventFamily,
    events_of,
    is_signed,
    tell_by_body,
    tell_by_headers,
)


@pytest.mark.parametrize(
    ("headers", "family"),
    [
        ({}, None),
        ({"content-type": "application/json", "x-api-key": "k"}, None),
        ({"guardhouse-family": "App"}, "app"),
        ({"guardhouse-family": "host"}, "host"),
        ({"guardhouse-family": "moon"}, None),
        ({"guardhouse-family": "app", "content-type": "application/x-ndjson"}, "app"),
        ({"content-type": "application/x-ndjson; charset=utf-8"}, "host"),
        ({"signature-input": 'sig1=("@method");tag="guardhouse-events"'}, "host"),
        ({"signature-input": 'sig1=("@method");tag="other"'}, None),
        ({"x-agent-id": "web-1"}, None),
        ({"x-agent-id": "web-1", "x-agent-signature": "x"}, "host"),
    ],
)
def test_by_headers(headers: dict[str, str], family: str | None) -> None:
    assert tell_by_headers(Headers(headers)) == family
    assert is_signed(Headers(headers)) is (
        "x-agent-signature" in headers or "guardhouse-events" in str(headers)
    )


@pytest.mark.parametrize(
    ("body", "family"),
    [
        (b'{"batch_id":"b","agent_id":"a"}', "app"),
        (b'{"metrics":[]}', "app"),
        (b'{"compressed":false,"events":[{"pid":1}]}', "app"),
        (b'{"agent_id":"a","events":[{"event_type":"x"}]}', "host"),
        (b'{"stream":"s"}', "host"),
        (b'{"events":[{"event_type":"x","pid":1}]}', "app"),
        (b'{"events":[5,{"pid":1}]}', "host"),
        (b'{"events":[{"kind":"exec"}]}', "host"),
        (b'{"events":{"syscall":"x"}}', "host"),
        (b'{"events":[]}', "app"),
        (b'{"events":null}', "app"),
        (b"{}", "app"),
    ],
)
def test_by_body(body: bytes, family: str) -> None:
    cut = split_body(body, ("events", "metrics"), max_items=10)
    assert tell_by_body(cut, has_key=True) == family
    if not events_of(cut, "events") and family == "app" and b"metrics" not in body and b"batch" not in body:
        assert tell_by_body(cut, has_key=False) == "host"


@pytest.mark.parametrize("body", [b'{"events":[5]}', b'{"events":[{"a":1}]}', b'{"events":"x"}'])
def test_neither(body: bytes) -> None:
    with pytest.raises(UnknownEventFamily):
        tell_by_body(split_body(body, ("events",), max_items=10), has_key=True)
