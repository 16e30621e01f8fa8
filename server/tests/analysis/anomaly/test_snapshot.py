"""State to bytes and back."""

import numpy as np
import pytest

from guardhouse.analysis.anomaly.snapshot import BadSnapshotError, from_bytes, to_bytes


def a_state() -> dict[str, object]:
    sparse = np.zeros(5000, np.uint32)
    sparse[[3, 4999]] = [7, 2**32 - 1]
    return {
        "b": [1, -(2**63), 2**64 - 1, 1.5, None, True, "é"],
        "a": {"line": b"\x00\xff", "full": np.arange(6, dtype=np.int64).reshape(2, 3), "sparse": sparse},
        "none": np.empty(0, np.float64),
        "flags": np.array([True, False]),
    }


def test_there_and_back() -> None:
    raw = to_bytes(a_state())
    back = from_bytes(raw)
    assert to_bytes(back) == raw
    assert back["b"] == a_state()["b"]
    assert back["a"]["line"] == b"\x00\xff"
    assert back["a"]["full"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back["a"]["sparse"].dtype == np.uint32
    assert back["a"]["sparse"][4999] == 2**32 - 1
    back["a"]["full"][0, 0] = 9  # arrays can be written to


def test_the_order_of_keys_does_not_matter() -> None:
    assert to_bytes({"a": 1, "b": b"x", "c": b"y"}) == to_bytes({"c": b"y", "b": b"x", "a": 1})


@pytest.mark.parametrize("place", [0, 7, 30, -1])
def test_changed_bytes_are_refused(place: int) -> None:
    raw = bytearray(to_bytes(a_state()))
    raw[place] ^= 1
    with pytest.raises(BadSnapshotError):
        from_bytes(bytes(raw))


@pytest.mark.parametrize("raw", [b"", b"GHANOM", to_bytes({"a": 1})[:-1]])
def test_cut_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(BadSnapshotError):
        from_bytes(raw)


def test_what_cannot_be_held() -> None:
    for wrong in ({"a": {1, 2}}, {"a": np.array(["text"])}, {"a": object()}):
        with pytest.raises(TypeError):
            to_bytes(wrong)
