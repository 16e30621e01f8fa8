import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.evidence.canonical import NotCanonicalError, canonical, read_canonical

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('aé𝄞ﬀ\n"', max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


def test_the_form_is_fixed() -> None:
    value = {"b": [1, 1.5, True, None], "a": 'é\n"', "ﬀ": 1e16, "𝄞": 0.1, "": 2**70}
    assert canonical(value).decode() == (
        '{"":1180591620717411303424,"a":"é\\n\\"","b":[1,1.5,true,null],"ﬀ":1e+16,"𝄞":0.1}'
    )


@given(VALUES)
def test_what_is_written_reads_back(value: object) -> None:
    raw = canonical(value)
    assert canonical(read_canonical(raw)) == raw
    assert json.loads(raw) == value


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=2), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, int], chance: random.Random) -> None:
    items = list(value.items())
    chance.shuffle(items)
    try:
        assert canonical(dict(items)) == canonical(value)
    except NotCanonicalError:
        assert any(0xD800 <= ord(char) < 0xE000 for key in value for char in key)


def test_text_is_not_normalised() -> None:
    assert canonical("e\u0301") != canonical("\u00e9")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: "a"}, [{None: 1}], "\ud800", b"x", {"a": {1, 2}}, object()]
)
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(NotCanonicalError):
        canonical(value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0e0",
        b"NaN",
        b"[1,]",
        b'"\\u00e9"',
        b"\xff",
        b"[" * 99_999,
    ],
)
def test_another_spelling_is_refused(raw: bytes) -> None:
    with pytest.raises(NotCanonicalError):
        read_canonical(raw)
