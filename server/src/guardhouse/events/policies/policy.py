"""What a policy is: when it acts, on what it bans and for how long, and how far it may go by itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from guardhouse.analysis.abuse.target import EVERYONE, Target

Mode = Literal["observe", "suggest", "enforce"]
State = Literal["observed", "proposed", "accepted", "dismissed", "enforced", "refused"]
MODES: Final[tuple[Mode, ...]] = ("observe", "suggest", "enforce")
ACTED: Final[tuple[State, ...]] = ("observed", "accepted", "enforced")  # these make an address an offender


class ByScore(msgspec.Struct, frozen=True, tag="ip_score", tag_field="source"):
    """An address's abuse score is at least so high."""

    at_least: int


class ByEvents(msgspec.Struct, frozen=True, tag="events", tag_field="source"):
    """An address made so many events of some types, at so many endpoints, within a window of seconds."""

    types: tuple[str, ...]
    count: int
    window_s: int
    distinct_endpoints: int = 0


class ByFinding(msgspec.Struct, frozen=True, tag="finding", tag_field="source"):
    """A notice of some kind, and at least so severe, names an address in the project."""

    kinds: tuple[str, ...]
    min_severity: str


Cause = ByScore | ByEvents | ByFinding


class Effect(msgspec.Struct, frozen=True):
    """Ban the address for ``for_s[step]`` seconds; IPv6 by a prefix of so many bits."""

    for_s: tuple[int, ...]
    prefix_v6: int = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of a project. ``paused_by``: the brake that it hit; it does nothing until it is enabled again."""

    id: UUID
    project_id: UUID
    name: str
    cause: Cause
    effect: Effect
    mode: Mode = "observe"
    max_per_hour: int = 20
    never: tuple[str, ...] = ()
    target: Target = EVERYONE
    enabled: bool = True
    paused_at: datetime | None = None
    paused_by: str | None = None
    version: int = 1
    created_at: datetime | None = None
    created_by: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """What people set of it, as JSON values."""
        return {
            "name": self.name,
            "when": msgspec.to_builtins(self.cause),
            "then": {"kind": "ban_net", **msgspec.to_builtins(self.effect)},
            "mode": self.mode,
            "max_per_hour": self.max_per_hour,
            "never": list(self.never),
            "target": self.target.conditions,
            "enabled": self.enabled,
        }


@dataclass(frozen=True, slots=True)
class Action:
    """What a policy did about an address, or would have done. ``until``: it does nothing more about it before.

    ``evidence``: score, ids of events, id of a notice; ``refused_for``: the brake that kept it from acting.
    """

    id: UUID
    project_id: UUID
    policy_id: UUID
    address: str
    net: str
    state: State
    refused_for: str | None
    step: int
    for_seconds: int
    reason: str
    evidence: dict[str, Any]
    rule_id: UUID | None
    at: datetime
    until: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
