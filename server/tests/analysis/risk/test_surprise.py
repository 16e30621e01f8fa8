import math

from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.surprise import (
    UNIFORM,
    CallCounts,
    call_name,
    call_names,
    call_number,
    gram,
    surprise,
    surprise_of_three,
)

TRACES = st.lists(st.lists(st.integers(1, 9), max_size=30), max_size=6)


def counted(traces: list[list[int]]) -> CallCounts:
    counts = CallCounts()
    for trace in traces:
        key = 0
        for call in trace:
            key = gram(key, call)
            counts.add(key)
    return counts


def plainly(traces: list[list[int]], context: list[int], call: int) -> float:
    """The formula written out over the traces themselves."""
    p = UNIFORM
    for order in range(4):
        if order > len(context):
            break
        tail = context[len(context) - order :]
        followers = [
            trace[place + order]
            for trace in traces
            for place in range(len(trace) - order)
            if trace[place : place + order] == tail
        ]
        if not followers:
            break
        distinct = len(set(followers))
        p = (followers.count(call) + distinct * p) / (len(followers) + distinct)
    return -math.log2(p)


@given(TRACES, st.lists(st.integers(1, 9), max_size=3), st.integers(1, 9))
def test_it_is_the_formula(traces: list[list[int]], context: list[int], call: int) -> None:
    key = 0
    for before in context:
        key = gram(key, before)
    bits = surprise((counted(traces),), gram(key, call)) / 1e6
    assert abs(bits - max(0.0, plainly(traces, context, call))) < 1e-4


@given(TRACES, TRACES, st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(1, 9))
def test_the_unrolled_form_is_the_same(
    everyone: list[list[int]], own: list[list[int]], context: list[int], call: int
) -> None:
    key = 0
    for before in context:
        key = gram(key, before)
    levels = (counted(everyone), counted(own))
    tables = tuple(level.table() for level in levels)
    assert surprise_of_three(tables, gram(key, call)) == surprise(levels, gram(key, call))


@given(TRACES, TRACES)
def test_merging_is_learning_both_and_order_does_not_matter(
    one: list[list[int]], two: list[list[int]]
) -> None:
    both = counted(one + two)
    merged = counted(one)
    merged.merge(counted(two))
    assert merged.pack() == both.pack() == counted(two + one).pack()
    assert CallCounts.unpack(both.pack()).pack() == both.pack()


def test_halving_forgets_what_was_seen_once() -> None:
    halved = counted([[1, 2], [1, 2], [1, 3]]).halved()
    assert halved.followers[1] == {0: 2, 1: 1, 2: 1}
    assert counted([[4]]).halved().followers == {}


def test_numbers_are_stable_distinct_and_never_zero() -> None:
    numbers = [call_number(name) for name in call_names()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert call_number("read") == 1
    assert call_name(call_number("openat")) == "openat"
    assert call_name(0) == "?"
    unknown = call_number("not_a_call_of_today")
    assert 1024 <= unknown < 4096
    assert call_name(unknown) == f"#{unknown}"
