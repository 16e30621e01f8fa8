"""What of a policy the shapes on the wire cannot say: members that must fit each other, and names that must exist."""

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final
from uuid import UUID

from guardhouse.detections.decide import thresholds_of
from guardhouse.detections.policy import CORE, ChannelPolicy, Policy
from guardhouse.foundation.errors import Problem

_CORE_FILE: Final = "core.json"


class PolicyRefused(Problem):
    """Members of a policy do not fit each other, or name what does not exist; nothing was changed."""

    status, code, title = 422, "detection_policy_invalid", "Policy invalid"
    remediation = "Correct the members listed in `errors`; each says how."


@dataclass(frozen=True, slots=True)
class Known:
    """What a policy may name: engines elsewhere, lists, packs with the ids of their rules, calibrations."""

    remotes: Collection[str]
    lists: Collection[UUID]
    packs: Mapping[str, Collection[str]]
    calibrations: Collection[UUID]


def check_policy(policy: Policy, known: Known) -> None:
    """Insist that a policy can be in force.

    Raises:
        PolicyRefused: with every fault.
    """
    faults = [
        *_faults_of_lines(policy.user, "user"),
        *_faults_of_lines(policy.external, "external"),
        *_faults_of_engine(policy, known.remotes),
        *_faults_of_rules(policy, known.packs),
        *(
            _fault(f"/lists/{number}", "unknown", "There is no such list.")
            for number, one in enumerate(policy.lists)
            if one not in known.lists
        ),
    ]
    if policy.cascade.low > policy.cascade.high:
        faults.append(_fault("/cascade/low", "range", "`low` is above `high`."))
    if policy.calibration is not None and policy.calibration not in known.calibrations:
        faults.append(_fault("/calibration", "unknown", "There is no such calibration."))
    if faults:
        raise PolicyRefused(faults[0]["detail"], errors=faults)


def _faults_of_lines(lines: ChannelPolicy, channel: str) -> Iterator[dict[str, str]]:
    point = thresholds_of(lines.operating_point)
    block = point.block if lines.block is None else lines.block
    if lines.review is not None and lines.review > block:
        detail = f"The review line is above the block line, which is {block / 1_000:g}."
        yield _fault(f"/channels/{channel}/review", "range", detail)


def _faults_of_engine(policy: Policy, remotes: Collection[str]) -> Iterator[dict[str, str]]:
    engine = policy.engine
    if engine.kind == "embedded":
        if engine.name is not None:
            yield _fault("/engine/name", "unknown", "The embedded engine has no name.")
    elif engine.name not in remotes:
        known = f"; there are {', '.join(remotes)}." if remotes else ", which name none."
        yield _fault("/engine/name", "unknown", f"No engine of this name is in the settings{known}")


def _faults_of_rules(policy: Policy, packs: Mapping[str, Collection[str]]) -> Iterator[dict[str, str]]:
    for number, pack in enumerate(policy.rule_packs):
        if pack != CORE and pack not in packs:
            yield _fault(f"/rule_packs/{number}", "unknown", f"There is no rule pack {pack}.")
    known = {*core_rules(), *(rule for rules in packs.values() for rule in rules)}
    for number, rule in enumerate(policy.rules_off):
        if rule not in known:
            near = difflib.get_close_matches(rule, sorted(known), 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            yield _fault(f"/rules_off/{number}", "unknown", f"There is no rule {rule} in the packs{hint}")


@cache
def core_rules() -> tuple[str, ...]:
    """Return the ids of the rules that ship."""
    data = files("guardhouse.analysis.injection") / "data" / _CORE_FILE
    return tuple(rule["id"] for rule in json.loads(data.read_text(encoding="utf-8"))["rules"])


def _fault(pointer: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "detail": detail}
