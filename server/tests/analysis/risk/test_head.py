import random
from collections.abc import Iterable
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.explain import explain
from guardhouse.analysis.risk.head import (
    FIRST_JUDGED,
    MAX_REMEMBERED,
    Head,
    HeadSet,
    HeadTrace,
    gram_calls,
    grams,
)
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.surprise import call_number, gram

CALLS = ("read", "write", "dup2", "connect", "socket", "getpid")


def keys_of(calls: Iterable[str]) -> list[int]:
    key, out = 0, []
    for call in calls:
        key = gram(key, call_number(call))
        out.append(key)
    return out


def word(*calls: str) -> int:
    number = 1
    for call in calls:
        number = number << 12 | call_number(call)
    return number


def head(bias: int = -500_000, **weights: int) -> Head:
    """A head whose weights are named by calls joined with `_then_`."""
    named = {word(*name.split("_then_")): weight for name, weight in weights.items()}
    return Head(1, "native.v1", bias, named)


BAD = head(dup2=3_000_000, socket_then_connect=2_000_000, socket_then_connect_then_dup2=4_000_000)
ATTACK = ["socket", "connect", "dup2", *["read"] * 9]


def events_of(calls: Iterable[str]) -> list[RiskEvent]:
    return [
        RiskEvent(n, n.to_bytes(16, "big"), 1_000_000 * n, "call", 7, 7, start=1, exe="/srv/app", call=call)
        for n, call in enumerate(calls, 1)
    ]


def engine_with(rules: RuleSet, speaks: bool | None, made: Head = BAD) -> AgentEngine:  # noqa: FBT001 - as stored
    engine = AgentEngine(rules)
    engine.heads = HeadSet({1: made}, {} if speaks is None else {1: speaks})
    return engine


def run(engine: AgentEngine, events: Iterable[RiskEvent]) -> Process:
    for event in events:
        engine.apply(event)
    (process,) = engine.instances.states.values()
    return process


def test_grams_end_with_the_call_and_begin_with_the_thread() -> None:
    first, second, third, fourth = keys_of(["socket", "connect", "dup2", "read"])
    assert list(grams(first)) == [word("socket")]
    assert list(grams(second)) == [word("connect"), word("socket", "connect")]
    assert list(grams(third))[2] == word("socket", "connect", "dup2")
    assert [gram_calls(w) for w in grams(fourth)] == [["read"], ["dup2", "read"], ["connect", "dup2", "read"]]


@given(st.lists(st.sampled_from(CALLS), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_score_is_that_of_the_distinct_grams_alone(calls: list[str], chance: random.Random) -> None:
    every = sorted({w for key in keys_of(calls) for w in grams(key)})
    known = [w for w in every if chance.random() < 0.7]
    made = Head(
        1, "a", chance.randrange(-2_000_000, 2_000_000), {w: chance.randrange(-(9**6), 9**6) for w in known}
    )
    trace = HeadTrace(made)
    for key in keys_of(calls):
        trace.follow(key)
    total = sum(made.weights)
    wanted = made.bias + (total * 10**6 // isqrt(len(known) * 10**12) if known else 0)
    assert trace.score == wanted
    assert trace.nats == max(0, wanted // 2)
    assert abs(made.bias + sum(share for _, share in trace.shares()) - wanted) <= len(known)
    again = HeadTrace.unpack(trace.pack(), made)
    assert (again.pack(), again.score) == (trace.pack(), trace.score)


def test_at_most_512_grams_are_remembered() -> None:
    chance = random.Random(3)
    keys = keys_of(f"x{chance.randrange(4000)}" for _ in range(2_000))
    made = Head(1, "a", 0, {w: 1 for key in keys for w in grams(key)})
    trace = HeadTrace(made)
    for key in keys:
        trace.follow(key)
    assert trace.count == trace.seen.bit_count() == MAX_REMEMBERED


def test_packing_a_head_is_an_inverse_and_orders_its_weights() -> None:
    backwards = Head(1, "native.v1", BAD.bias, dict(reversed(list(zip(BAD.words, BAD.weights, strict=True)))))
    assert Head.unpack(BAD.pack()).pack() == backwards.pack() == BAD.pack()


def test_a_head_that_speaks_is_evidence_from_the_tenth_call(rules: RuleSet) -> None:
    engine = engine_with(rules, speaks=True)
    process = run(engine, events_of(ATTACK[: FIRST_JUDGED - 1]))
    assert process.slots is None
    process = run(engine, events_of(ATTACK))
    assert process.slots is not None
    (slot,) = process.slots
    assert slot.id == "head.verdict"
    assert slot.nats == (-500_000 + 9_000_000 * 10**6 // isqrt(3 * 10**12)) // 2
    assert "socket connect dup2 +2.30" in slot.why


def test_its_share_is_capped_and_explained(rules: RuleSet) -> None:
    engine = engine_with(rules, speaks=True)
    process = run(engine, events_of(ATTACK))
    told = explain(engine, process, "web-1")
    (part,) = told["contributions"]
    assert told["risk"] == part["points"] == 63.21
    assert part["grams"][0] == {"calls": ["socket", "connect", "dup2"], "share": 2.309}


def test_in_shadow_it_is_told_and_not_added(rules: RuleSet) -> None:
    process = run(engine_with(rules, speaks=False), events_of(ATTACK))
    assert process.slots is None
    assert process.suppressed is not None
    assert [(item.id, item.why) for item in process.suppressed] == [
        ("head.verdict", "verdict head 1 in shadow: counted, not added")
    ]


def test_switched_off_it_is_silent_and_another_alphabet_is_not_looked_at(rules: RuleSet) -> None:
    engine = engine_with(rules, speaks=True)
    events = events_of(ATTACK)
    run(engine, events[:3])
    engine.heads = HeadSet({1: BAD}, {})
    process = run(engine, events[3:])
    assert process.slots is None
    assert process.suppressed is None
    foreign = [event._replace(alphabet="audit.v1") for event in events]
    assert run(engine_with(rules, speaks=True), foreign).traces is None


def test_a_program_that_begins_is_looked_at_anew(rules: RuleSet) -> None:
    engine = engine_with(rules, speaks=True)
    process = run(engine, events_of([*ATTACK[:8], "execve", "getpid"]))
    assert process.traces is not None
    assert process.traces[0].seen == 0
    assert process.slots is None


def test_a_burst_counts_each_of_its_calls(rules: RuleSet) -> None:
    single = run(engine_with(rules, speaks=True), events_of(ATTACK))
    burst = events_of(["getpid"])[0]._replace(kind="calls", call=None, names=tuple(ATTACK))
    process = run(engine_with(rules, speaks=True), [burst])
    assert process.slots is not None
    assert single.slots is not None
    assert process.slots[0].nats == single.slots[0].nats


@pytest.mark.parametrize("speaks", [True, False, None])
def test_a_restart_between_any_two_calls_changes_no_byte(rules: RuleSet, *, speaks: bool | None) -> None:
    events = events_of([*ATTACK, "socket", "getpid", "connect"])
    whole = engine_with(rules, speaks)
    process = run(whole, events)
    engine = engine_with(rules, speaks)
    for event in events:
        engine.apply(event)
        packed = [engine.pack(key) for key in engine.instances.states]
        agent = engine.pack_agent()
        engine = engine_with(rules, speaks)
        engine.load_agent(agent)
        for state in packed:
            engine.load_process(state)
    assert engine.pack(process.key) == whole.pack(process.key)


def test_without_heads_a_packed_state_has_no_word_of_them(rules: RuleSet) -> None:
    plain, without = AgentEngine(rules), engine_with(rules, None)
    key = run(plain, events_of(ATTACK)).key
    run(without, events_of(ATTACK))
    assert plain.pack(key) == without.pack(key)
