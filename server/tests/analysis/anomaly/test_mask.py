"""Masks: vectors, and the way back to the raw text."""

import json
from pathlib import Path

import pytest

from guardhouse.analysis.anomaly.mask import Masker, choose_mask
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
