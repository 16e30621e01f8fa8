"""The equation of the ledger after any sequence of captures, faults and restarts, against the server's own count."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.tests.app.conftest import MakeAgent, adds_up, attack, event, metric
from agent.tests.app.sink import Script, Sink, wait_for
from guard_agent._pipeline.ledger import LANES, Ledger
from guard_agent.client import GuardAgentHandler

FAULTS = [
    Script(500),
    Script(503, {"Retry-After": "0"}),
    Script(reset=True),
    Script(reset=True, keeps=True),
    Script(500, keeps=True),
    Script(409, keeps=True),
    Script(202, keeps=True),
    Script(200, body=b'{"success":false}'),
    Script(413),
    Script(422),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("capture"), st.integers(1, 40)),
        st.tuples(st.just("fault"), st.integers(0, len(FAULTS) - 1)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("spoil"), st.just(0)),
    ),
    min_size=3,
    max_size=10,
)


class House:
    """One application over several starts of its agent, and what it has captured."""

    def __init__(self, sink: Sink, make_agent: MakeAgent, folder: Path, durability: str) -> None:
        self.sink = sink
        self.settings: dict[str, Any] = {
            "durability": durability, "state_dir": folder, "max_batch_items": 15, "buffer_size": 20,
            "shutdown_timeout": 0.2, "retry_attempts": 1,
        }  # fmt: skip
        self.make_agent = make_agent
        self.ended: list[GuardAgentHandler] = []
        self.captured = 0
        self.agent = make_agent(sink, **self.settings)

    def do(self, step: str, value: int) -> None:
        if step == "capture":
            for _ in range(value):
                self.agent.send_event(
                    attack(self.captured) if self.captured % 5 == 0 else event(self.captured)
                )
                self.agent.send_metric(metric(self.captured))
                self.captured += 1
        elif step == "fault":
            with self.sink.lock:
                self.sink.script.append(FAULTS[value])
        elif step == "flush":
            self.agent.flush_buffer()
        elif step == "spoil":
            self.agent.send_event(None)
        else:
            self.agent.stop()
            self.ended.append(self.agent)
            self.agent = self.make_agent(self.sink, **self.settings)
        assert adds_up(self.agent.ledger())


@pytest.fixture(params=["memory", "auto"])
def durability(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param  # type: ignore[no-any-return] # one of the two above


@given(steps=STEPS)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_whatever_happens_every_item_is_stored_or_counted(
    make_agent: MakeAgent,
    tmp_path_factory: pytest.TempPathFactory,
    durability: str,
    steps: list[tuple[str, int]],
) -> None:
    sink = Sink()
    try:
        house = House(sink, make_agent, tmp_path_factory.mktemp("house"), durability)
        for step, value in steps:
            house.do(step, value)
        with sink.lock:
            sink.script.clear()
        engine = house.agent._engine
        assert engine is not None
        wait_for(
            lambda: not any(engine.ledger.pending(lane) for lane in LANES) and not engine.keeper.estates, 60
        )
        ledgers = [agent.ledger() for agent in (*house.ended, house.agent)]
        assert all(adds_up(ledger) for ledger in ledgers)
        for lane in LANES:
            spoiled = sum(ledger[lane]["dropped"]["invalid"] for ledger in ledgers)
            assert sum(ledger[lane]["captured"] for ledger in ledgers) - spoiled == house.captured
            names = sink.names(lane)
            assert len(set(names)) == len(names)
            lost = sum(
                ledger[lane]["rejected"] + ledger[lane]["dropped"]["shutdown_deadline"] for ledger in ledgers
            )
            assert len(names) >= house.captured - lost
            if durability == "auto" and not any(FAULTS[v].status == 422 for s, v in steps if s == "fault"):
                assert len(names) == house.captured
    finally:
        sink.close()


def test_a_sum_of_ledgers_has_their_shape() -> None:
    one, two = Ledger(), Ledger()
    one.keep("events", "spool", 3)
    one.move("events", "spool", "delivered", 2)
    two.refuse("metrics", "disabled")
    total = Ledger.total([one, two])
    assert adds_up(total)
    assert (
        total["events"]["captured"],
        total["events"]["delivered"],
        total["events"]["pending"]["spool"],
    ) == (3, 2, 1)
    assert total["metrics"]["dropped"]["disabled"] == 1


def test_settled_counts_are_restored_and_unknown_ones_left_out() -> None:
    one, two = Ledger(), Ledger()
    one.refuse("events", "sampled", 4)
    two.restore(one.settled() | {"elsewhere": {"delivered": 9}})
    assert two.snapshot() == one.snapshot()
