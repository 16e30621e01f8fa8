"""Masks: vectors, and the way back to the raw text."""

import json
from pathlib import Path

import pytest

from guardhouse.analysis.anomaly.mask import Masker, choose_mask
from guardhouse.analysis.anomaly.mask_numbers import NUMBERS, without_numbers
from guardhouse.analysis.anomaly.splitmix import values
from server.tests.analysis.anomaly.streams import log_lines, word_lines

VECTORS = Path(__file__).parents[4] / "contract" / "vectors" / "anomaly" / "mask.json"
ROWS = json.loads(VECTORS.read_text())["mask"]


@pytest.mark.parametrize("row", ROWS, ids=[row["raw"][:20] for row in ROWS])
def test_vectors(row: dict[str, str]) -> None:
    for mask in ("log", "light", "none"):
        masked = row[mask].encode()
        assert Masker(mask).lines([row["raw"].encode()]) == [masked]
        traced = Masker(mask).trace(row["raw"].encode())
        assert traced.masked == masked
        assert len(traced.begins) == len(traced.ends) == len(masked)


def test_lines_do_not_touch_each_other() -> None:
    lines = [row["raw"].encode() for row in ROWS]
    for mask in ("log", "light", "none"):
        masker = Masker(mask)
        assert masker.lines(lines) == [masker.lines([line])[0] for line in lines]
        assert masker.lines([b"", b""]) == [b"", b""]
        assert masker.lines([]) == []


def test_spans_lead_back_to_the_raw_text() -> None:
    raw = b"user bob@example.com paid 12.50 at 10:00"
    traced = Masker("log").trace(raw)
    assert traced.masked == b"user <email> paid # at #"
    begin = traced.masked.index(b"<email>")
    start, end = traced.raw_span(begin, begin + 7)
    assert raw[start:end] == b"bob@example.com"
    begin = traced.masked.index(b"paid #")
    start, end = traced.raw_span(begin, begin + 6)
    assert raw[start:end] == b"paid 12.50"
    assert traced.raw_span(len(traced.masked), len(traced.masked) + 1) == (len(raw), len(raw))


def test_auto_takes_log_for_templates_alone() -> None:
    assert choose_mask([line.encode() for line in log_lines(500)]) == "log"
    assert choose_mask([line.encode() for line in word_lines(500)]) == "light"


def test_an_unknown_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no mask"):
        Masker("all")


@pytest.mark.parametrize("seed", range(20))
def test_arrays_find_what_the_patterns_find(seed: int) -> None:
    """The quick ways of both masks equal their patterns, line by line, on lines made of what they look for."""
    letters = b"0123456789abcdefABCDEFxX_-.:,/ gz#@eyJ\xc3"
    drawn = values(seed, 0, 8000).tolist()
    at = 0
    for _ in range(40):
        lines = []
        for length in (drawn[at] % 60 for at in range(at, at + 4)):
            lines.append(bytes(letters[drawn[(at + n) % 8000] % len(letters)] for n in range(length)))
            at += length
        lines.append(
            b"id 3f2504e0-4f89-11d3-9a0c-0305e82c3301 bcdefabcdefabcdef1 0xabcd 1.1.1.1 a1234567 12:34.5"
        )
        assert without_numbers(lines) == [NUMBERS.sub(b"#", line) for line in lines]
        light = Masker("light").lines(lines)
        assert light == [Masker("light").trace(line).masked for line in lines]
