"""The own captures of `auditd-samples` through the audit importer, for `risk_quality.py`.

Which capture is which is told by its name: `benign_*`, and `setuid_nobody` that only gives privileges up, are
harmless; every other one behaves like an attack.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ATTACK_MUST = 6000
HARMLESS_MUST = 3000


def is_harmless(path: Path) -> bool:
    """Whether a capture is of harmless work."""
    name = path.name.partition(".")[0]
    return name.startswith("benign_") or name == "setuid_nobody"


def audit_items(path: Path) -> list[dict[str, Any]]:
    """The events of one audit log in wire words, as the agent sends them."""
    (log,) = importlib.import_module("guard_agent.watch.recorded_log").find_logs([path], "auditd")
    alphabet = log.alphabet()
    return [item | {"alphabet": alphabet} for item in log.events(fold=False, midnight_ns=0)]


def audit_set(folder: Path, peak: Callable[[str, list[dict[str, Any]]], int]) -> dict[str, bool]:
    """Judge every own capture without a baseline.

    Args:
        folder: `auditd-samples` of the development data.
        peak: shows and returns the highest tree risk (hundredths) of one log, given its name and wire events.
    """
    attacks: list[int] = []
    harmless: list[int] = []
    for path in sorted((folder / "captured-here").glob("*.log")):
        risk = peak(path.name.partition(".")[0], audit_items(path))
        (harmless if is_harmless(path) else attacks).append(risk)
    return {
        f"audit: every attack-like >= 60 ({len(attacks)} captures)": all(
            risk >= ATTACK_MUST for risk in attacks
        ),
        f"audit: every harmless <= 30 ({len(harmless)} captures)": all(
            risk <= HARMLESS_MUST for risk in harmless
        ),
    }
