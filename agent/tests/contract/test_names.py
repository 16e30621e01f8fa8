"""Every name, signature, default and field of the released package, compared with ours."""

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import guard_agent
from agent.tests.contract.describe_api import MODULES, describe, describe_module
from agent.tests.contract.read_released import VERSION
from guard_agent import clash

RELEASED = json.loads((Path(__file__).parent / "released.json").read_text(encoding="utf-8"))
OURS = {"GuardMiddleware", "GuardWSGIMiddleware", "wrap", "lifespan", "emit", "EventType", "MetricType"}
OURS |= {"TransportStats", "API_LEVEL"}
# Methods that the released handler has as coroutine functions return awaitables of another kind here.
NO_COROUTINE_FUNCTIONS = {"GuardAgentHandler"}


def test_the_table_is_of_the_released_package() -> None:
    assert RELEASED["version"] == VERSION == guard_agent.API_LEVEL
    assert len(RELEASED["all"]) == 27


def test_every_name_of_the_package_is_there_and_ours_beside_it() -> None:
    assert set(guard_agent.__all__) == set(RELEASED["all"]) | OURS
    for name in guard_agent.__all__:
        assert getattr(guard_agent, name) is not None, name
    assert set(guard_agent.__all__) <= set(dir(guard_agent))
    with pytest.raises(AttributeError, match="no_such_name"):
        guard_agent.no_such_name  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("module", MODULES)
def test_a_module_offers_what_the_released_one_offers(module: str) -> None:
    ours = importlib.import_module(f"guard_agent.{module}")
    for name, facts in RELEASED["modules"][module].items():
        assert hasattr(ours, name), f"{module}.{name}"
        _compare(f"{module}.{name}", facts, describe(getattr(ours, name)))


def _compare(where: str, released: dict[str, Any], ours: dict[str, Any]) -> None:
    assert ours["kind"] == released["kind"], where
    if released["kind"] == "constant":
        assert ours["value"] == released["value"], where
    elif released["kind"] == "function":
        if where.split(".")[-2] not in NO_COROUTINE_FUNCTIONS:
            assert ours["async"] == released["async"], where
        _compare_parameters(where, released["parameters"], ours["parameters"])
    elif released["kind"] == "model":
        assert released["config"].items() <= ours["config"].items(), where
        for field, facts in released["fields"].items():
            assert ours["fields"][field] == facts, f"{where}.{field}"
        assert not [
            name for name in set(ours["fields"]) - set(released["fields"]) if ours["fields"][name]["required"]
        ]
    else:
        _compare_classes(where, released, ours)


def _compare_classes(where: str, released: dict[str, Any], ours: dict[str, Any]) -> None:
    if "Exception" in released["bases"]:
        assert set(released["bases"]) <= set(ours["bases"]), where
    if "parameters" in released:
        _compare_parameters(where, released["parameters"], ours["parameters"])
    for method, facts in released["methods"].items():
        assert method in ours["methods"], f"{where}.{method}"
        _compare(f"{where}.{method}", facts, ours["methods"][method])
    if released["kind"] == "protocol":
        assert ours["runtime_checkable"] is True
        assert set(ours["methods"]) == set(released["methods"]), where


def _compare_parameters(where: str, released: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
    """Every call that the released signature allows is allowed by ours and means the same."""
    positional = [facts for facts in released if facts["kind"] != "KEYWORD_ONLY"]
    by_name = {facts["name"]: facts for facts in ours}
    for place, facts in enumerate(positional):
        assert ours[place]["name"] == facts["name"], where
        assert ours[place]["kind"] == facts["kind"], where
    for facts in released:
        mine = by_name[facts["name"]]
        if "default" in facts:
            assert mine["default"] == facts["default"], f"{where}({facts['name']})"
    for facts in ours:
        if facts["name"] not in {facts["name"] for facts in released} and not facts["kind"].startswith(
            "VAR_"
        ):
            assert "default" in facts, f"{where}({facts['name']})"


def test_the_four_protocols_have_the_released_methods() -> None:
    counts = {
        name: len(describe_module("protocols")[name]["methods"])
        for name in ("AgentHandlerProtocol", "BufferProtocol", "TransportProtocol", "RedisHandlerProtocol")
    }
    assert counts == {
        "AgentHandlerProtocol": 10,
        "BufferProtocol": 12,
        "TransportProtocol": 4,
        "RedisHandlerProtocol": 6,
    }


def test_the_host_agent_needs_neither_pydantic_nor_httpx() -> None:
    code = "import sys, guard_agent.watch.command; print({'pydantic', 'httpx'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "set()"


def test_models_load_without_httpx() -> None:
    code = "import sys; from guard_agent import *; print('httpx' in sys.modules)"
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert told.stdout.strip() == "False"


def test_every_shared_module_carries_the_mark() -> None:
    folder = Path(inspect.getfile(guard_agent)).parent
    assert {
        name
        for name in clash.SHARED_MODULES
        if not (folder / f"{name}.py").read_text().startswith(clash.MARK)
    } == set()
