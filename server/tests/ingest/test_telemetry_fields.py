"""Single fields of app telemetry, read from whatever was sent."""

import json
import math
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.ingest.telemetry_fields import (
    REDACTED,
    Notes,
    Remark,
    read_address,
    read_integer,
    read_number,
    read_object,
    read_tags,
    read_text,
    read_time,
)

NOON = datetime(2026, 11, 21, 12, 0, 0, 720979, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-21 12:00:00.720979+00:00",
        "2026-11-21T12:00:00.720979Z",
        "2026-11-21T14:00:00.720979+02:00",
        "2026-11-21 12:00:00.720979",
        " 2026-11-21T12:00:00.720979 ",
        NOON.timestamp(),
        int(NOON.timestamp() * 1_000_000),
        str(NOON.timestamp()),
    ],
)
def test_times(value: Any) -> None:
    assert read_time(value) == NOON


def test_times_by_magnitude() -> None:
    assert read_time(0) == datetime(1970, 1, 1, tzinfo=UTC)
    seconds = int(NOON.timestamp())
    assert read_time(seconds) == read_time(seconds * 1000) == read_time(seconds * 1_000_000)


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", None, [], {}, True, math.nan, math.inf, 1e30, "0001-01-01T00:00+23:00", "9" * 400],
)
def test_no_times(value: Any) -> None:
    assert read_time(value) is None


@pytest.mark.parametrize(
    ("value", "address", "text"),
    [
        ("1.2.3.4", "1.2.3.4", None),
        ("1.2.3.4:80", "1.2.3.4", None),
        ("[::1]", "::1", None),
        ("[2001:db8::1]:443", "2001:db8::1", None),
        ("::ffff:1.2.3.4", "1.2.3.4", None),
        ("fe80::1%eth0", "fe80::1", None),
        ("system", None, "system"),
        ("unknown", None, "unknown"),
        ("d2811d419efa1031", None, "d2811d419efa1031"),
        ("", None, None),
        (None, None, None),
        ("x" * 10_000, None, "x" * 64),
        (17, None, "17"),
        ("1.2.3.4.5", None, "1.2.3.4.5"),
    ],
)
def test_addresses(value: Any, address: str | None, text: str | None) -> None:
    expected = None if address is None else ip_address(address)
    assert read_address(value, Notes()) == (expected, text)


def test_numbers() -> None:
    notes = Notes()
    odd: list[Any] = [1, 2.5, "3.5", True, "x", [], None]
    assert [read_number(v, notes) for v in odd] == [
        1.0,
        2.5,
        3.5,
        None,
        None,
        None,
        None,
    ]
    assert notes.flags == 0
    assert [read_number(v, notes) for v in (math.nan, -math.inf, "inf", 10**400)] == [None] * 4
    assert notes.flags == Remark.NON_FINITE
    assert [read_integer(v, 32, notes) for v in (200, "404", 2**31, -(2**31), 1e300)] == [
        200,
        404,
        None,
        -(2**31),
        None,
    ]


def test_texts_are_cut_with_a_remark() -> None:
    notes = Notes()
    assert read_text("é" * 10, 10, notes) == "é" * 10
    assert notes.flags == 0
    assert read_text("é" * 11, 10, notes) == "é" * 10
    assert notes.flags == Remark.TRUNCATED
    assert read_text({"a": 1}, 100, notes) == '{"a":1}'


def test_objects_are_wrapped_redacted_and_bounded() -> None:
    notes = Notes()
    assert read_object(5, notes) == '{"value":5}'
    assert read_object({}, notes) is None
    assert notes.flags == 0
    secret = {"headers": {"Authorization": "Bearer x", "Cookie": "a", "X-API-Key": None, "ok": 1}}
    assert json.loads(read_object(secret, notes) or "") == {
        "headers": {"Authorization": REDACTED, "Cookie": REDACTED, "X-API-Key": None, "ok": 1}
    }
    assert notes.flags == Remark.REDACTED


@pytest.mark.parametrize(
    "value",
    [
        {str(n): n for n in range(1000)},
        {"a": [[[[[[[[[[[[[1]]]]]]]]]]]]]},
        {"small": 1, "large": "x" * 60_000},
        {str(n): "x" * 500 for n in range(100)},
        {"list": list(range(20_000))},
    ],
)
def test_large_objects_are_cut(value: Any) -> None:
    notes = Notes()
    text = read_object(value, notes)
    assert text is not None
    assert len(text.encode()) <= 32 << 10
    assert notes.flags == Remark.TRUNCATED
    assert isinstance(json.loads(text), dict)


def test_tags_are_texts() -> None:
    notes = Notes()
    tags = read_tags({"a": 1, "b": None, "cookie": "x", "c": [1]}, notes)
    assert json.loads(tags or "") == {"a": "1", "b": None, "cookie": REDACTED, "c": "[1]"}
    assert len(json.loads(read_tags({str(n): n for n in range(100)}, notes) or "")) == 64


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(json_values)
def test_no_reader_ever_raises(value: Any) -> None:
    notes = Notes()
    read_time(value)
    read_address(value, notes)
    read_number(value, notes)
    read_integer(value, 64, notes)
    read_text(value, 10, notes)
    for text in (read_object(value, notes), read_tags(value, notes)):
        assert text is None or isinstance(json.loads(text), dict)
