"""Audit rules: packed as the kernel's struct, read back the same, refused when they cannot be one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_agent.watch.audit_rule import (
    ALWAYS,
    ARCH,
    DIR,
    FILTER_EXIT,
    KEY,
    NEVER,
    NOT_EQUAL,
    PERM,
    PID,
    WATCH,
    Field,
    Rule,
    key_of,
    pack_rule,
    unpack_rule,
)

HEAD_BYTES = 4 * (3 + 64 + 3 * 64 + 1)
NUMBERS = st.sampled_from([PID, ARCH, PERM, 1, 9, 103])
TEXTS = st.sampled_from([WATCH, DIR, 112, 13])
FIELDS = st.one_of(
    st.builds(Field, NUMBERS, st.integers(0, 2**32 - 1)),
    st.builds(Field, TEXTS, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)),
)


def test_a_rule_has_the_layout_of_the_kernels_struct() -> None:
    rule = Rule((Field(ARCH, 0xC000003E), Field(WATCH, "/etc/shadow"), Field(KEY, "k")), frozenset({59, 2}))
    data = pack_rule(rule)
    assert len(data) == HEAD_BYTES + len("/etc/shadow") + len("k")
    numbers = struct.unpack_from("=260I", data)
    assert numbers[:3] == (FILTER_EXIT, ALWAYS, 3)
    assert (numbers[3], numbers[4]) == (1 << 2, 1 << 27)  # calls 2 and 59
    assert numbers[67:70] == (ARCH, WATCH, KEY)
    assert numbers[131:134] == (0xC000003E, 11, 1)
    assert numbers[259] == 12
    assert data.endswith(b"/etc/shadowk")


@given(
    st.lists(FIELDS, min_size=1, max_size=64).map(tuple),
    st.one_of(st.none(), st.frozensets(st.integers(0, 2047), max_size=80)),
    st.sampled_from([ALWAYS, NEVER]),
)
def test_what_is_packed_is_read_back(
    fields: tuple[Field, ...], calls: frozenset[int] | None, action: int
) -> None:
    rule = Rule(fields, calls, action)
    assert unpack_rule(pack_rule(rule)) == rule


def test_the_key_is_found_behind_other_texts() -> None:
    fields = (Field(DIR, "/etc"), Field(PID, 7, NOT_EQUAL), Field(KEY, "guardhouse"))
    assert key_of(unpack_rule(pack_rule(Rule(fields)))) == "guardhouse"
    assert key_of(Rule((Field(PID, 1),))) is None


@pytest.mark.parametrize(
    "rule", [Rule(tuple(Field(PID, n) for n in range(65))), Rule((Field(PID, 1),), frozenset({2048}))]
)
def test_what_no_rule_can_hold_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match="rule"):
        pack_rule(rule)


def test_a_rule_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="short"):
        unpack_rule(b"\0" * (HEAD_BYTES - 1))
