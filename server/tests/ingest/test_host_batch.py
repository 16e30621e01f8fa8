"""The envelope of a host batch, as JSON and as NDJSON."""

import json
from typing import Any

import pytest
from starlette.datastructures import Headers, QueryParams

from guardhouse.foundation.errors import Problem, UnsupportedMediaType, ValidationFailed
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.host_batch import JSON, NDJSON, BatchTooLarge, HostBatch, read_batch
from guardhouse.ingest.host_items import HostEvent, ItemError

SEED = {"pid": 1234, "syscall": "execve"}


def read(content: bytes, media: str | None = JSON, query: str = "") -> HostBatch:
    return read_batch(Headers({"content-type": media} if media else {}), QueryParams(query), content)


def refusal(content: bytes, media: str | None = JSON, query: str = "") -> Problem:
    with pytest.raises(Problem) as raised:
        read(content, media, query)
    return raised.value


def pointer(problem: Problem) -> Any:
    assert isinstance(problem, ValidationFailed)
    return problem.errors[0].get("pointer")


def test_the_oldest_shape_is_a_pid_and_a_syscall() -> None:
    batch = read(json.dumps({"events": [SEED]}).encode())
    assert batch.items == [HostEvent(pid=1234, syscall="execve")]
    assert (batch.agent_id, batch.stream, batch.boot_id, batch.alphabet, batch.idempotency_key) == (None,) * 5


@pytest.mark.parametrize("media", [JSON, "Application/JSON; charset=utf-8", "application/json;x=y"])
def test_parameters_of_the_media_type_do_not_matter(media: str) -> None:
    assert len(read(json.dumps({"events": [SEED]}).encode(), media).items) == 1


@pytest.mark.parametrize("media", [None, "text/plain", "application/xml", "application/jsonl"])
def test_other_media_types_are_refused(media: str | None) -> None:
    assert isinstance(refusal(b'{"events":[]}', media), UnsupportedMediaType)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"7", b'"x"', b"{", b'{"events":[{"pid":1', b"\xff", b'{"a":1} x']
)
def test_what_is_no_object_is_malformed(body: bytes) -> None:
    assert isinstance(refusal(body), MalformedBody)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"events":null}', b'{"events":{}}', b'{"events":"x"}', b'{"events":[]}']
)
def test_events_are_a_list_that_is_not_empty(body: bytes) -> None:
    assert pointer(refusal(body)) == "/events"


@pytest.mark.parametrize("name", ["agent_id", "stream", "boot_id", "alphabet"])
@pytest.mark.parametrize("value", ["5", "[]", '""', '"' + "x" * 129 + '"', '"' + "x" * 70_000 + '"', "nul"])
@pytest.mark.parametrize("item", ['{"pid":1,"syscall":"a"}', '{"pid":"broken"}'])
def test_a_wrong_member_is_named_and_never_dropped(name: str, value: str, item: str) -> None:
    assert pointer(refusal(f'{{"{name}":{value},"events":[{item}]}}'.encode())) == f"/{name}"


def test_a_null_member_is_an_absent_one() -> None:
    assert read(b'{"stream":null,"events":[{"pid":"x"}]}').stream is None


def test_names_in_the_envelope_are_made_storable() -> None:
    assert read(b'{"stream":"a\\u0000b","events":[{"pid":1,"syscall":"a"}]}').stream == "a\u2400b"
    assert read(b'{"boot_id":"\\ud800","events":[{"pid":1,"syscall":"a"}]}').boot_id == "\ufffd"
    assert read(b'{"pid":1,"syscall":"a"}', NDJSON, "stream=a%00b").stream == "a\u2400b"


def test_ten_thousand_and_no_more() -> None:
    items = [b'{"pid":1,"syscall":"a"}'] * 10_001
    assert len(read(b'{"events":[' + b",".join(items[1:]) + b"]}").items) == 10_000
    assert isinstance(refusal(b'{"events":[' + b",".join(items) + b"]}"), BatchTooLarge)
    assert len(read(b"\n".join(items[1:]), NDJSON).items) == 10_000
    assert isinstance(refusal(b"\n".join(items), NDJSON), BatchTooLarge)
    broken = [b"{", *items[1:]]
    assert isinstance(refusal(b"\n".join(broken), NDJSON), BatchTooLarge)
    assert len(read(b"\n".join(broken[:-1]), NDJSON).items) == 10_000


def test_one_unreadable_item_costs_only_itself() -> None:
    items = read(b'{"events":[{"pid":1,"syscall":"a"},{"pid":},{"pid":2,"syscall":"\xff"}]}').items
    assert [isinstance(item, ItemError) for item in items] == [False, True, False]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\n \t\r\n"])
def test_ndjson_is_one_event_per_line(end: bytes) -> None:
    lines = [json.dumps(SEED | {"pid": pid}).encode() for pid in range(3)]
    items = read(end.join(lines) + end, NDJSON, "agent_id=web-1&stream=s&boot_id=b&alphabet=native.v1").items
    assert items == [HostEvent(pid=pid, syscall="execve") for pid in range(3)]


def test_ndjson_takes_the_members_of_the_batch_from_the_query() -> None:
    query = "agent_id=web-1&stream=s&boot_id=b&alphabet=native.v1&idempotency_key=k&other=x"
    batch = read(json.dumps(SEED).encode(), NDJSON, query)
    assert (batch.agent_id, batch.stream, batch.boot_id, batch.alphabet) == ("web-1", "s", "b", "native.v1")
    assert batch.idempotency_key == "k"
    problem = refusal(json.dumps(SEED).encode(), NDJSON, "stream=" + "x" * 129)
    assert isinstance(problem, ValidationFailed)
    assert problem.errors[0]["parameter"] == "stream"


@pytest.mark.parametrize(
    "body",
    [
        b'{"pid":1\n"syscall":"a"}\n{"pid":3,"syscall":"c"}',
        b'{"pid":1,"syscall":"a"},{"pid":2,"syscall":"b"}\n{"pid":3,"syscall":"c"}',
        b'{"pid":1,"syscall":"a"} {"pid":2,"syscall":"b"}\n{"pid":3,"syscall":"c"}',
        b'[{"pid":1,"syscall":"a"}]\n{"pid":3,"syscall":"c"}',
    ],
)
def test_lines_are_not_glued_together(body: bytes) -> None:
    items = read(body, NDJSON).items
    assert [item.pid for item in items if isinstance(item, HostEvent)] == [3]
    assert len(items) == len(body.split(b"\n"))


def test_ndjson_is_made_storable_too() -> None:
    (item,) = read(b'{"pid":1,"syscall":"a","exe":"a\\u0000b"}', NDJSON).items
    assert isinstance(item, HostEvent)
    assert item.exe == "a\u2400b"


def test_no_line_at_all_is_no_event() -> None:
    assert pointer(refusal(b"\n \n", NDJSON)) == "/events"


def test_what_a_batch_is_known_by_includes_what_stands_in_the_query() -> None:
    line = json.dumps(SEED).encode()
    assert read(line, NDJSON, "stream=a").hashed != read(line, NDJSON, "stream=b").hashed
    assert read(line, NDJSON, "stream=a").hashed == read(line, NDJSON, "other=1&stream=a").hashed
    body = json.dumps({"events": [SEED]}).encode()
    assert read(body, JSON, "stream=a").hashed == body
