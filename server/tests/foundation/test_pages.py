import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.pages import MAX_CURSOR_LENGTH, CursorSigner, InvalidCursor, Page, bind

VECTOR = json.loads((Path(__file__).parents[3] / "contract" / "vectors" / "cursor.json").read_text())
OLD, NEW = b"o" * 32, b"n" * 32


def signer(
    *, keys: Sequence[bytes] = (NEW,), clock: SetClock | None = None, binding: bytes = b"bindbind"
) -> CursorSigner:
    return CursorSigner(keys, binding, clock or SetClock())


def reason(where: CursorSigner, cursor: str) -> object:
    with pytest.raises(InvalidCursor) as caught:
        where.read(cursor)
    return caught.value.extensions["reason"]


def test_the_vector() -> None:
    clock = SetClock()
    clock.move(VECTOR["now"] - clock.now().timestamp())
    filters = [(name, value) for name, value in VECTOR["filters"]]
    binding = bind(VECTOR["tenant"], VECTOR["route"], filters)
    assert binding.hex() == VECTOR["binding_hex"]
    found = CursorSigner([bytes.fromhex(VECTOR["key_hex"])], binding, clock)
    assert found.sign(VECTOR["values"]) == VECTOR["cursor"]
    assert found.read(VECTOR["cursor"]) == VECTOR["values"]


def test_the_values_come_back_with_their_types() -> None:
    values = [1_767_225_600_000_000, b"\x00\xff", "a.b", -1, None]
    assert signer().read(signer().sign(values)) == values


def test_every_byte_of_a_cursor_counts() -> None:
    cursor = signer().sign([1, b"abc"])
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=\x00 é"
    for place in range(len(cursor)):
        for letter in alphabet:
            if letter != cursor[place]:
                assert reason(signer(), cursor[:place] + letter + cursor[place + 1 :]) == "tampered"


@pytest.mark.parametrize(
    "text",
    ["", "c1.", "c1..", "c2.AAAA.AAAA", "x", "c1.AAAA", "c1.AAAA.", "c1." + "A" * 600, "\x00", "c1.é.é"],
)
def test_what_is_no_cursor_is_tampered(text: str) -> None:
    assert reason(signer(), text) == "tampered"


def test_every_cut_and_every_addition_is_noticed() -> None:
    cursor = signer().sign([1])
    for length in range(len(cursor)):
        assert reason(signer(), cursor[:length]) == "tampered"
    for more in ("A", "=", "==", ".", ".A", " ", "\n"):
        assert reason(signer(), cursor + more) == "tampered"


def test_padding_bits_of_base64_are_part_of_it() -> None:
    """The last character of the MAC carries four unused bits: another spelling is another cursor."""
    cursor = signer().sign([1])
    mac = cursor.rpartition(".")[2]
    assert len(base64.urlsafe_b64decode(mac + "==")) == 16
    spellings = {mac[:-1] + letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"} - {mac}
    assert {reason(signer(), cursor.removesuffix(mac) + other) for other in spellings} == {"tampered"}


def test_a_cursor_is_good_for_an_hour() -> None:
    clock = SetClock()
    found = signer(clock=clock)
    cursor = found.sign([1])
    clock.move(3600)
    assert found.read(cursor) == [1]
    clock.move(1)
    assert reason(found, cursor) == "expired"


def test_another_list_is_told_as_such() -> None:
    cursor = signer(binding=bind("a", "/x", [])).sign([1])
    for tenant, route, filters in (("b", "/x", []), ("a", "/y", []), ("a", "/x", [("q", "1")])):
        assert reason(signer(binding=bind(tenant, route, filters)), cursor) == "filters_changed"


def test_the_binding_confuses_no_neighbours() -> None:
    assert bind("t", "/x", [("a", "1"), ("b", "2")]) == bind("t", "/x", [("b", "2"), ("a", "1")])
    assert bind("t", "/x", [("a", "1b")]) != bind("t", "/x", [("a1", "b")])
    assert bind("t", "/x", [("a", "1"), ("a", "1")]) != bind("t", "/x", [("a", "1")])


def test_a_rotation_keeps_cursors_until_the_old_key_goes() -> None:
    cursor = signer(keys=[OLD]).sign([1])
    assert signer(keys=[NEW, OLD]).read(cursor) == [1]
    assert reason(signer(keys=[NEW]), cursor) == "tampered"
    assert signer(keys=[NEW]).read(signer(keys=[NEW, OLD]).sign([2])) == [2]


def test_the_longest_key_values_of_our_lists_fit() -> None:
    # processes: instant, agent number, "<pid>.<start>.<generation>.<boot_id>" with a boot id of 128 characters
    key = f"4194304.{(1 << 63) - 1}.{1 << 31}." + "b" * 128
    assert len(signer().sign([1_767_225_600_000_000, 1 << 40, key])) <= MAX_CURSOR_LENGTH


@given(st.text(max_size=600))
def test_no_text_raises_anything_else(text: str) -> None:
    assert reason(signer(), text) == "tampered"


class Shelf:
    """A list of (time, id) rows, newest first, as a store would page it."""

    def __init__(self, rows: set[tuple[int, int]]) -> None:
        self.rows = rows

    def fetch(self, limit: int, after: list[Any] | None) -> list[tuple[int, int]]:
        ordered = sorted(self.rows, reverse=True)
        if after is not None:
            ordered = [row for row in ordered if row < (after[0], after[1])]
        return ordered[:limit]


Rows = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=30)


@given(Rows, st.lists(st.tuples(Rows, Rows), max_size=12), st.integers(1, 5))
def test_pages_lose_and_repeat_nothing_that_was_there_throughout(
    rows: set[tuple[int, int]], changes: list[tuple[set[tuple[int, int]], set[tuple[int, int]]]], limit: int
) -> None:
    shelf, found = Shelf(set(rows)), signer()
    seen: list[tuple[int, int]] = []
    throughout, cursor, turn = set(rows), None, iter(changes)
    while True:
        page = Page(limit, None if cursor is None else found.read(cursor), found)
        fetched = shelf.fetch(limit + 1, page.after)
        answer = page.answer(fetched, lambda row: row, lambda row: row)
        seen += answer["data"]
        cursor = answer["pagination"]["cursor"]
        assert answer["pagination"]["has_more"] is (cursor is not None)
        assert len(answer["data"]) <= limit
        if cursor is None:
            break
        come, gone = next(turn, (set(), set()))
        shelf.rows = (shelf.rows | come) - gone
        throughout -= gone
    assert len(seen) == len(set(seen))
    assert throughout <= set(seen)
