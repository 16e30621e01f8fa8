"""Builders shared by the risk tests: short events, and the synthetic life of the golden file."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.rule_tests import expand_events
from guardhouse.analysis.risk.rules import RuleSet

ROOT = Path(__file__).parents[4]


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden_tool() -> ModuleType:
    return load_tool("make_risk_golden")


@pytest.fixture(scope="session")
def tables_tool() -> ModuleType:
    return load_tool("make_risk_tables")


@pytest.fixture(scope="session")
def vectors() -> Path:
    return ROOT / "contract/vectors"


@pytest.fixture(scope="session")
def rules() -> RuleSet:
    return RuleSet.builtin()


@pytest.fixture
def short() -> Callable[..., list[RiskEvent]]:
    """Short events (see `rule_tests`) as a list."""

    def build(*events: dict[str, object]) -> list[RiskEvent]:
        return list(expand_events(list(events)))

    return build


@pytest.fixture(scope="session")
def life(golden_tool: ModuleType) -> list[RiskEvent]:
    made: Iterator[RiskEvent] = golden_tool.synthetic(3_000, 11)
    return list(made)
