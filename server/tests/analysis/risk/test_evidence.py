from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.evidence import (
    CAPS,
    EDGE,
    MAX_PER_FAMILY,
    MAX_SLOTS,
    RULES,
    Finding,
    Slot,
    add_finding,
    falls_below,
    family_sums,
    risk_at,
    shares,
    total_nats,
)

T0 = 1_767_225_600_000_000
IDS = st.sampled_from(
    [f"rule.r{n}" for n in range(14)]
    + ["ext.falco.a", "ext.falco.b", "edge.new", "path.new", "seq.rare", "head.verdict"]
)


@st.composite
def findings(draw: st.DrawFn) -> tuple[int, Finding]:
    after_us = draw(st.integers(0, 3_000_000_000))
    name = draw(IDS)
    detail = draw(st.sampled_from(["", "a", "b", "c", "d", "e"])) if name in ("edge.new", "path.new") else ""
    nats = draw(st.integers(1, 3_000_000))
    half_life_s = 600 if name == "rule.r1" else 1800
    event = draw(st.binary(min_size=16, max_size=16))
    return after_us, Finding(name, detail, nats, half_life_s, "why", (event,), highest=draw(st.booleans()))


STREAMS = st.lists(findings(), max_size=40)


def enter(stream: list[tuple[int, Finding]]) -> tuple[list[Slot], int]:
    slots: list[Slot] = []
    now_us = T0
    for after_us, finding in stream:
        now_us += after_us
        add_finding(slots, finding, now_us)
    return slots, now_us


@given(STREAMS, st.integers(0, 10_000_000_000))
def test_points_sum_exactly_to_the_risk(stream: list[tuple[int, Finding]], later_us: int) -> None:
    slots, now_us = enter(stream)
    risk, parts = shares(slots, now_us + later_us)
    assert 0 <= risk <= 10_000
    assert risk == risk_at(slots, now_us + later_us)
    if parts:
        assert sum(part.points for part in parts) == risk
    else:
        assert risk == 0
    assert all(part.points >= 0 for part in parts)


@given(STREAMS)
def test_more_evidence_never_lowers_the_total(stream: list[tuple[int, Finding]]) -> None:
    slots: list[Slot] = []
    now_us = T0
    for after_us, finding in stream:
        now_us += after_us
        before = total_nats(slots, now_us)
        add_finding(slots, finding, now_us)
        assert total_nats(slots, now_us) >= before


@given(STREAMS, st.lists(st.integers(0, 20_000_000_000), min_size=2, max_size=5))
def test_decay_never_raises_the_risk(stream: list[tuple[int, Finding]], times: list[int]) -> None:
    slots, now_us = enter(stream)
    risks = [risk_at(slots, now_us + us) for us in sorted(times)]
    assert risks == sorted(risks, reverse=True)


@given(STREAMS)
def test_tables_are_bounded_and_caps_hold(stream: list[tuple[int, Finding]]) -> None:
    slots, now_us = enter(stream)
    assert len(slots) <= MAX_SLOTS
    for family, limit in enumerate(MAX_PER_FAMILY):
        assert sum(slot.family == family for slot in slots) <= limit
    assert total_nats(slots, now_us) <= sum(CAPS)
    assert all(len(slot.events) <= 8 for slot in slots)


@given(STREAMS, st.integers(0, 5_000_000_000))
def test_a_child_starts_with_at_most_half(stream: list[tuple[int, Finding]], later_us: int) -> None:
    slots, now_us = enter(stream)
    born_us = now_us + later_us
    children = [child for slot in slots if (child := slot.halved(born_us)) is not None]
    parents, own = family_sums(slots, born_us), family_sums(children, born_us)
    assert all(2 * child <= parent for child, parent in zip(own, parents, strict=True))
    assert all(child.inherited and child.own == 0 and child.hits == 0 for child in children)


@given(STREAMS, st.integers(0, 50))
def test_a_slot_packs_and_unpacks_to_the_same(stream: list[tuple[int, Finding]], which: int) -> None:
    slots, _ = enter(stream)
    if slots:
        slot = slots[which % len(slots)]
        assert Slot.unpack(slot.pack()).pack() == slot.pack()


@given(STREAMS, st.sampled_from([3_000, 6_000]))
def test_cooling_is_the_first_second_under_the_threshold(
    stream: list[tuple[int, Finding]], threshold: int
) -> None:
    slots, now_us = enter(stream)
    due_us = falls_below(slots, threshold, now_us)
    assert due_us % 1_000_000 == 0
    assert risk_at(slots, due_us) < threshold
    before_us = due_us - 1_000_000
    assert before_us < now_us or risk_at(slots, before_us) >= threshold


def test_repeats_count_half_of_the_one_before_up_to_one_and_a_half_weights() -> None:
    slots: list[Slot] = []
    totals = []
    for _ in range(6):
        add_finding(slots, Finding("rule.a", "", 1_000_000, 1800, "", ()), T0)
        totals.append(slots[0].nats)
    assert totals == [1_000_000, 1_500_000, 1_500_000, 1_500_000, 1_500_000, 1_500_000]
    add_finding(slots, Finding("rule.a", "", 1_000_000, 1800, "", ()), T0 + 1_800_000_000)
    assert slots[0].nats == 750_000 + (1_000_000 >> 6)


def test_a_cap_does_not_lower_what_inheritance_brought() -> None:
    parent = Slot(Finding("rule.a", "", 3_000_000, 1800, "", ()), T0)
    child = parent.halved(T0)
    assert child is not None
    slots = [child]
    add_finding(slots, Finding("rule.a", "", 400_000, 1800, "", ()), T0)
    assert slots[0].nats == 1_500_000
    assert slots[0].own == 400_000
    assert not slots[0].inherited


def test_the_highest_of_several_replaces_instead_of_adding() -> None:
    slots: list[Slot] = []
    for nats in (750_000, 900_000, 600_000):
        add_finding(slots, Finding("rule.recon", "", nats, 600, "", (), highest=True), T0)
    assert slots[0].nats == 900_000


def test_a_fifth_edge_pushes_the_smallest_out() -> None:
    slots: list[Slot] = []
    for number, nats in enumerate((400_000, 300_000, 500_000, 600_000, 350_000)):
        add_finding(slots, Finding("edge.new", f"/bin/{number}", nats, 1800, "", ()), T0)
    assert sorted(slot.detail for slot in slots) == ["/bin/0", "/bin/2", "/bin/3", "/bin/4"]
    assert all(slot.family == EDGE for slot in slots)
    assert add_finding(slots, Finding("edge.new", "/bin/9", 1, 1800, "", ()), T0) == (None, False)


def test_the_worked_shares_of_two_families() -> None:
    slots = [
        Slot(Finding("rule.a", "", 1_505_000, 1800, "", ()), T0),
        Slot(Finding("edge.new", "x", 596_000, 1800, "", ()), T0),
        Slot(Finding("seq.rare", "", 355_000, 1800, "", ()), T0),
    ]
    risk, parts = shares(slots, T0)
    assert risk == 9142
    assert [part.points for part in parts] == [5602, 2219, 1321]
    assert slots[0].family == RULES
