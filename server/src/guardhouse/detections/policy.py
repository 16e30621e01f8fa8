"""A policy: what a tenant wants done with texts. A version of it never changes; a change is the next version."""

from typing import Final, Literal
from uuid import UUID

import msgspec

from guardhouse.detections.decide import Decision, OperatingPoint, Thresholds, thresholds_of

FailMode = Literal["embedded", "closed", "open"]
Channel = Literal["user", "external"]
Tier = Literal["fast", "standard", "deep"]
Action = Literal["allow", "review", "redact", "block"]
CORE: Final = "core"  # the rule pack that ships with the engine
NO_ID: Final = UUID(int=0)


class ChannelPolicy(msgspec.Struct, frozen=True):
    """The lines of one channel (milli); absent ones are those of the operating point."""

    operating_point: OperatingPoint = "balanced"
    review: int | None = None
    block: int | None = None


class Cascade(msgspec.Struct, frozen=True):
    """Between which fast scores (milli) a text goes to the deep tier."""

    low: int = 50
    high: int = 950


class ToolPolicy(msgspec.Struct, frozen=True):
    """What is said of a tool: whether it acts on the world, which arguments are destinations, what is allowed."""

    sensitive: bool = False
    destinations: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class OutputPolicy(msgspec.Struct, frozen=True):
    """What is done about each kind of finding in a model's answer."""

    canary: Action = "block"
    prompt_echo: Action = "block"
    secret: Action = "redact"  # noqa: S105 - a kind of finding, no secret
    pii: Action = "review"
    md_exfil: Action = "block"


class EngineChoice(msgspec.Struct, frozen=True):
    """Which engine judges: the embedded one, or a remote one by its name in the settings."""

    kind: Literal["embedded", "remote"] = "embedded"
    name: str | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a policy, as it is in force; what is not said is as in every new tenant's ``default``."""

    id: UUID = NO_ID
    version: int = 1
    name: str = "default"
    user: ChannelPolicy = ChannelPolicy()
    external: ChannelPolicy = ChannelPolicy()
    engine: EngineChoice = EngineChoice()
    fail_mode: FailMode = "embedded"
    shadow: bool = False
    max_chars: int = 10_000
    store_text: bool = False
    retention_days: int = 30
    record: Literal["buffered", "durable"] = "buffered"
    cache_seconds: int = 300
    tier: Tier = "fast"
    cascade: Cascade = Cascade()
    rule_packs: tuple[str, ...] = (CORE,)
    rules_off: tuple[str, ...] = ()
    lists: tuple[UUID, ...] = ()
    allowed_link_hosts: tuple[str, ...] = ()
    tools: dict[str, ToolPolicy] = {}
    output: OutputPolicy = OutputPolicy()
    calibration: UUID | None = None

    def lines(self, channel: str, point: OperatingPoint | None, block_at: int | None) -> Thresholds:
        """Return the thresholds of a call: its own operating point and block line go before the policy's."""
        own = self.external if channel == "external" else self.user
        if point is not None:
            return thresholds_of(point, block_at)
        named = thresholds_of(own.operating_point)
        block = named.block if own.block is None else own.block
        review = min(named.review if own.review is None else own.review, block)
        if block_at is None:
            return Thresholds(review, block, own.operating_point)
        return Thresholds(min(review, block_at), block_at, own.operating_point)

    def without_verdict(self) -> Decision:
        """Return what is decided where no engine could answer: by the fail mode, never by a guess."""
        return "allow" if self.fail_mode == "open" else "block"


DEFAULT: Final = Policy()
