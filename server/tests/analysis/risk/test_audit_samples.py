"""The own captures of the development data through the audit importer: what the engine says without a baseline."""

import os
from pathlib import Path
from typing import Any

import pytest

from guard_agent.watch.audit_log import read_audit
from guard_agent.watch.strace import open_log
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.rules import RuleSet
from server.tests.analysis.risk.audit_told import told

DATA = Path(os.environ.get("GUARDHOUSE_SHARED_DATA") or Path(__file__).parents[5] / "shared" / "data")
FOLDER = DATA / "syscall/auditd-samples/captured-here"


def peak(items: list[dict[str, Any]]) -> float:
    """The highest tree risk of one log."""
    engine = AgentEngine(RuleSet.builtin())
    highest = 0
    for position, item in enumerate(items, 1):
        event = told(item, position)
        if engine.apply(event) is not None:
            trees = [state.tree for state in engine.instances.states.values() if state.tree is not None]
            highest = max([highest, *(tree.explain(event.occurred_us)[0] for tree in trees)])
    return highest / 100


def test_attacks_are_seen_and_ordinary_work_is_not() -> None:
    if not FOLDER.is_dir():
        pytest.skip(
            f"SKIPPED: no development data at {DATA}: set GUARDHOUSE_SHARED_DATA to the folder of syscall/"
        )
    risks = {
        path.name.partition(".")[0]: peak(list(read_audit(open_log(path)))) for path in FOLDER.glob("*.log")
    }
    harmless = {name for name in risks if name.startswith("benign_") or name == "setuid_nobody"}
    assert len(harmless) >= 3
    assert set(risks) > harmless
    for name, risk in risks.items():
        assert risk <= 30 if name in harmless else risk >= 60, (name, risk)
