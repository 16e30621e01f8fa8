"""The arithmetic of delivery: whatever is lost, answered twice or still on its way, nothing is left out."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.agents.instances.ledger import (
    Account,
    Lane,
    Ledger,
    Received,
    is_backwards,
    read_ledger,
    read_seq,
    settle,
)

VECTORS = json.loads(
    (Path(__file__).parents[4] / "contract" / "vectors" / "agents" / "ledger.json").read_text(
        encoding="utf-8"
    )
)
COUNTS = st.integers(0, 200)


@pytest.mark.parametrize("vector", VECTORS["settled"], ids=lambda vector: vector["case"])
def test_vectors(vector: dict[str, Any]) -> None:
    account = settle(Lane(**vector["lane"]), Received(**vector["received"]))
    assert account == msgspec.convert(vector["account"], Account)


def test_the_shapes_of_the_vectors_can_be_read() -> None:
    said = VECTORS["batch_envelope"]
    ledger = read_ledger(said["ledger"])
    assert ledger is not None
    assert (ledger.events.captured, ledger.events.waiting, read_seq(said["seq"])) == (120, 13, 7)
    short = read_ledger(VECTORS["status_member_guardhouse"]["ledger"])
    assert short == Ledger(Lane(captured=120), Lane())


LANES = st.builds(
    Lane,
    *[COUNTS] * 5,
    st.dictionaries(st.sampled_from(["overflow", "expired"]), COUNTS),
    st.dictionaries(st.sampled_from(["memory", "spool", "in_flight"]), COUNTS),
)


@given(LANES, COUNTS, COUNTS)
def test_the_parts_always_add_up_and_none_is_negative(lane: Lane, stored: int, rolled_up: int) -> None:
    found = settle(lane, Received(stored, rolled_up))
    parts = (found.stored, found.rolled_up, found.duplicates, found.rejected, found.merged, found.pending)
    assert min(parts) >= 0
    assert found.captured == sum(parts) + sum(found.dropped.values()) + found.unaccounted


class Wire:
    """A client and a server, item by item, with answers that may be lost: the truth to compare with."""

    def __init__(self) -> None:
        self.captured = self.delivered = self.duplicates = self.rejected = self.dropped = 0
        self.memory: list[int] = []
        self.in_flight: list[list[int]] = []
        self.there: set[int] = set()
        self.received = Received()

    def step(self, action: str, amount: int) -> None:
        if action == "capture":
            self.memory += range(self.captured, self.captured + amount)
            self.captured += amount
        elif action == "drop":
            self.dropped += len(self.memory[:amount])
            del self.memory[:amount]
        elif action == "send" and self.memory:
            self.in_flight.append(self.memory[:amount])
            del self.memory[:amount]
        elif action in {"arrive", "lose_answer"} and self.in_flight:
            sent = self.in_flight[amount % len(self.in_flight)]
            bad = [item for item in sent if item % 11 == 0]
            good = [item for item in sent if item % 11]
            new = [item for item in good if item not in self.there]
            self.there.update(new)
            noise = sum(item % 3 == 0 for item in new)
            self.received += Received(len(new) - noise, noise, len(good) - len(new), len(bad))
            if action == "arrive":
                self.delivered += len(new)
                self.duplicates += len(good) - len(new)
                self.rejected += len(bad)
                self.in_flight.remove(sent)

    @property
    def lane(self) -> Lane:
        waiting = {"memory": len(self.memory), "in_flight": sum(map(len, self.in_flight))}
        return Lane(
            captured=self.captured, delivered=self.delivered, duplicates=self.duplicates, rejected=self.rejected,
            dropped={"overflow": self.dropped}, pending=waiting,
        )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from(["capture", "drop", "send", "arrive", "lose_answer"]), st.integers(1, 40)),
        max_size=60,
    ),
    st.integers(1, 20),
)
@settings(max_examples=200)
def test_whatever_happens_on_the_wire_nothing_is_unaccounted_and_a_loss_is(
    steps: list[tuple[str, int]], lost: int
) -> None:
    wire = Wire()
    for action, amount in steps:
        wire.step(action, amount)
        account = settle(wire.lane, wire.received)
        assert account.unaccounted == 0
        assert account.stored + account.rolled_up == len(wire.there)
        assert account.duplicates == 0  # no other process had any of it
    while wire.in_flight:
        wire.step("arrive", 1)
    account = settle(wire.lane, wire.received)
    assert (account.unaccounted, account.pending) == (0, len(wire.memory))
    if len(wire.there) >= lost and wire.received.stored >= lost:
        short = Received(wire.received.stored - lost, wire.received.rolled_up)
        missing = settle(wire.lane, short).unaccounted
        assert missing == max(0, lost - min(wire.duplicates, lost))


@pytest.mark.parametrize(
    "value",
    [
        None, [], "x", {"events": []}, {"events": {"captured": -1}}, {"events": {"captured": 1.5}},
        {"events": {"captured": True}},
        {"metrics": {"dropped": [1]}}, {"metrics": {"dropped": {"a": -1}}}, {"metrics": {"pending": {"a b": 1}}},
        {"events": {"captured": 1 << 60}}, {"events": {"dropped": {f"n{n}": 1 for n in range(33)}}},
    ],
)  # fmt: skip
def test_a_ledger_with_a_figure_that_is_no_count_is_none(value: Any) -> None:
    assert read_ledger(value) is None


def test_counters_that_shrink_are_noticed_and_waiting_items_may() -> None:
    before = Ledger(Lane(captured=9, delivered=5, dropped={"a": 1}, pending={"memory": 3}))
    assert not is_backwards(Ledger(Lane(captured=9, delivered=8, dropped={"b": 1})), before)
    shrunk = (Lane(8, 5, dropped={"a": 1}), Lane(9, 4, dropped={"a": 1}), Lane(9, 5))
    assert all(is_backwards(Ledger(less), before) for less in shrunk)
