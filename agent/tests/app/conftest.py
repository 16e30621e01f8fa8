"""A scripted collector and agents that report to it; every agent of a test is closed at its end."""

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.tests.app.sink import Sink
from guard_agent.client import GuardAgentHandler, SyncGuardAgentHandler
from guard_agent.config import AgentConfig
from guard_agent.models import SecurityEvent, SecurityMetric

KEY = "gh_live_0123456789"
_numbers = itertools.count()
MakeAgent = Callable[..., GuardAgentHandler]


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def native_sink() -> Iterator[Sink]:
    made = Sink(native=True)
    yield made
    made.close()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def make_agent(state_dir: Path) -> Iterator[MakeAgent]:
    """Start an agent of its own name that reports to a sink, in memory unless told otherwise."""
    made: list[GuardAgentHandler] = []

    def make(sink: Sink, *, sync: bool = False, start: bool = True, **settings: Any) -> GuardAgentHandler:
        config = config_for(sink, **{"state_dir": state_dir, "durability": "memory", **settings})
        kind = SyncGuardAgentHandler if sync else GuardAgentHandler
        agent = kind(config, name=f"test-{os.getpid()}-{next(_numbers)}")
        made.append(agent)
        if start:
            agent.start()
        return agent

    yield make
    for agent in made:
        agent.finish()


def config_for(sink: Sink, **settings: Any) -> AgentConfig:
    defaults: dict[str, Any] = {
        "api_key": KEY,
        "endpoint": sink.url,
        "project_id": "shop",
        "flush_interval": 1,
        "timeout": 5,
        "backoff_factor": 0.05,
        "install_signal_handlers": False,
        "install_id": "install-1",
    }
    return AgentConfig(**defaults | settings)


def event(name: object, kind: str = "access_denied", **more: Any) -> SecurityEvent:
    return SecurityEvent(timestamp=datetime.now(UTC), event_type=kind, reason=str(name), **more)


def attack(name: object, **more: Any) -> SecurityEvent:
    return event(name, "penetration_attempt", **more)


def metric(name: object, **more: Any) -> SecurityMetric:
    return SecurityMetric(
        timestamp=datetime.now(UTC), metric_type="request_count", value=1.0, endpoint=str(name), **more
    )


def adds_up(ledger: dict[str, Any]) -> bool:
    """Tell whether the equation of the ledger holds in both lanes, with no count below 0."""
    for lane in ledger.values():
        counts = [*lane["dropped"].values(), *lane["pending"].values()]
        counts += [lane[name] for name in ("delivered", "duplicates", "rejected", "merged")]
        if min(counts) < 0 or lane["captured"] != sum(counts):
            return False
    return True
