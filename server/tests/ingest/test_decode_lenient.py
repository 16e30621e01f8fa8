"""Cutting and lenient decoding: one bad item costs only itself, and what comes out can be stored."""

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.foundation.errors import BodyTooLarge
from guardhouse.ingest.decode_body import split_body
from guardhouse.ingest.decode_lenient import (
    Cut,
    MalformedBody,
    Unreadable,
    cut_items,
    decode_item,
    salvage_items,
)

NAMES = ("events", "metrics")

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
broken_items = st.sampled_from(
    [
        b'{"a":01}',
        b'{"a":tru}',
        b'{"a":[1}',
        b'{"a" 1}',
        b"{,}",
        b'{"a":{"b":[}}',
        b"nope",
        b'{"a":1}}',
        b"",
        b"[" * 5000 + b"]" * 5000,
        b'{"\xff":"\xc3"}',
        b'{"a":"\\ud800\\u0000"}',
        b'{"a":NaN}',
        b'{"a":"\x00"}',
    ]
)


def cut(content: bytes) -> Any:
    return cut_items(content, NAMES, max_items=1000)


@given(st.lists(values, max_size=6), st.dictionaries(texts, values, max_size=4), st.sampled_from([None, 2]))
def test_good_bodies_give_the_same_pieces_either_way(
    items: list[Any], others: dict[str, Any], indent: int | None
) -> None:
    document = {**others, "events": items}
    content = json.dumps(document, indent=indent).encode()
    strict, lenient = split_body(content, NAMES, max_items=1000), cut(content)
    assert lenient == strict
    assert [json.loads(raw) for raw in lenient.items["events"]] == items
    for name, value in others.items():
        if name in lenient.members:
            assert json.loads(lenient.members[name]) == value


@given(st.lists(values | broken_items, min_size=1, max_size=8))
def test_a_broken_item_costs_only_itself(items: list[Any]) -> None:
    raws = [
        item if isinstance(item, bytes) else json.dumps(item, ensure_ascii=False).encode() for item in items
    ]
    content = b'{"batch_id":"b","events":[' + b",".join(raws) + b'],"metrics":[7]}'
    pieces = split_body(content, NAMES, max_items=1000)
    if raws == [b""]:
        assert pieces.items["events"] == []
        return
    found = pieces.items["events"]
    assert len(found) == len(items)
    for raw, item in zip(found, items, strict=True):
        if not isinstance(item, bytes):
            assert decode_item(raw) == item
    assert decode_item(pieces.members["batch_id"]) == "b"
    assert pieces.items["metrics"] == [b"7"]


@given(st.binary(max_size=300) | st.text('{}[]",:\\ae1 ', max_size=200).map(str.encode))
def test_any_bytes_are_cut_or_refused_and_items_decode_or_say_why(noise: bytes) -> None:
    for content in (noise, b'{"events":[' + noise + b"]}", b'{"events":[{"a":"' + noise):
        pieces = Cut()
        with contextlib.suppress(MalformedBody):
            pieces = split_body(content, NAMES, max_items=1000)
        for raw in [*pieces.members.values(), *(r for found in pieces.items.values() for r in found)]:
            try:
                value = decode_item(raw)
            except Unreadable:
                continue
            stored = json.dumps(value, ensure_ascii=False)
            stored.encode()
            assert "\\u0000" not in stored.replace("\\\\", "")


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"", 0),
        (b"null", 0),
        (b"[]", 0),
        (b'"x"', 0),
        (b"<html>", 0),
        (b'{"events":[{"a":1}', 18),
        (b'{"events":[{"a":"x', 18),
        (b'{"events":[],', 13),
        (b'{"events":[]', 12),
        (b"{} x", 3),
        (b"{}{}", 2),
        (b'{"a" 1}', 5),
        (b'{"a":1 "b":2}', 7),
    ],
)
def test_cut_or_no_object_is_malformed_with_the_place(content: bytes, offset: int) -> None:
    with pytest.raises(MalformedBody) as caught:
        split_body(content, NAMES, max_items=1000)
    assert caught.value.extensions["offset"] == offset
    assert caught.value.raw == content


def test_lenient_values() -> None:
    decoded = decode_item(
        b'{"a":NaN,"b":-Infinity,"c":1e999,"d":"\\ud800x\\u0000","e":"\xff\xc3(","f":' + b"9" * 300 + b"}"
    )
    assert math.isnan(decoded["a"])
    assert decoded["b"] == -math.inf
    assert decoded["c"] == math.inf
    assert decoded["d"] == "\ufffdx\u2400"
    assert decoded["e"] == "\ufffd\ufffd("
    assert decoded["f"] == int("9" * 300)
    assert decode_item(b'{"a":' + b"1" * 5000 + b"}") == {"a": "1" * 5000}
    assert decode_item(b'{"a":1,"a":2}') == {"a": 2}
    assert decode_item(b'"\\ud83d\\ude00\\u0000"') == "\U0001f600\u2400"
    assert decode_item(b'{"a":"\ttab\x00"}') == {"a": "\ttab\u2400"}


def test_a_byte_order_mark_is_skipped() -> None:
    pieces = split_body(b'\xef\xbb\xbf{"events":[{"a":1}]}', NAMES, max_items=10)
    assert pieces.items["events"] == [b'{"a":1}']


def test_of_equal_names_the_last_counts() -> None:
    assert split_body(b'{"events":[1],"events":null}', NAMES, max_items=10).items == {}
    assert cut(b'{"events":[1],"events":null}').items == {}
    assert cut(b'{"events":5,"events":[2]}').members == {}


@pytest.mark.parametrize("item", [b"[" * 2000 + b"]" * 2000, b'{"a":' * 2000 + b"1" + b"}" * 2000])
def test_nested_too_deep_costs_only_itself(item: bytes) -> None:
    pieces = split_body(b'{"events":[{"a":1},' + item + b',{"b":2}]}', NAMES, max_items=10)
    assert len(pieces.items["events"]) == 3
    assert decode_item(pieces.items["events"][2]) == {"b": 2}


def test_too_many_items_are_refused_either_way() -> None:
    content = b'{"events":[' + b",".join([b"1"] * 8) + b'],"metrics":[1,2,3]}'
    for way in (split_body, cut_items):
        with pytest.raises(BodyTooLarge):
            way(content, NAMES, max_items=10)
        assert way(content, NAMES, max_items=11).items["metrics"] == [b"1", b"2", b"3"]
    with pytest.raises(BodyTooLarge):
        split_body(b'{"events":[' + b",".join([b"1"] * 600_000) + b"]}", NAMES, max_items=50_000)


@pytest.mark.parametrize(
    "content",
    [
        b'{"events":[' + b"[" * 4_000_000,
        b'{"events":[' + b"[" * 2_000_000 + b"}" * 2_000_000,
        b'{"events":[' + b"{" * 2_000_000 + b"]",
        b'{"events":[' + b'{"a":"\\' * 500_000,
        b"{" + b'"a":NaN,' * 400_000 + b'"b":1}',
    ],
    ids=["lists", "wrong-brackets", "objects", "strings", "members"],
)
def test_hostile_bodies_cost_linear_time(content: bytes) -> None:
    started = time.perf_counter()
    with contextlib.suppress(MalformedBody):
        split_body(content, NAMES, max_items=50_000)
    assert time.perf_counter() - started < 10


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)), st.data()
)
def test_of_a_body_that_is_cut_every_whole_item_is_salvaged(
    items: list[dict[str, object]], data: st.DataObject
) -> None:
    texts = [json.dumps(item).encode() for item in items]
    body = b'{"events": [' + b", ".join(texts) + b'], "batch_id": "b"}'
    end = data.draw(st.integers(0, len(body) - 1))
    found = salvage_items(body[:end], ("events",), max_items=100).items.get("events", [])
    ends = [len(b'{"events": [' + b", ".join(texts[: n + 1])) for n in range(len(texts))]
    assert found == texts[: sum(place <= end for place in ends)]
