"""What is asked of an engine process about the tool calls of a conversation, and what it says."""

import msgspec


class SaidText(msgspec.Struct, frozen=True, array_like=True):
    """An earlier text: the number of its message, and whether whoever wrote it may name destinations."""

    index: int
    trusted: bool
    text: str


class CallToCheck(msgspec.Struct, frozen=True, array_like=True):
    """A call: the number of its message, its arguments as JSON, and the policy's word on its tool."""

    index: int
    arguments: str
    sensitive: bool
    destinations: tuple[str, ...]
    allow: tuple[str, ...]


class CallsAsk(msgspec.Struct, frozen=True, array_like=True, tag="calls"):
    """The calls of a conversation and what was said before them."""

    said: tuple[SaidText, ...]
    calls: tuple[CallToCheck, ...]

    @property
    def text(self) -> str:
        """What there is to read; how long it takes goes with it."""
        return "\n".join([*(one.text for one in self.said), *(one.arguments for one in self.calls)])

    @property
    def own(self) -> str:
        """The digest of what a tenant adds to the engine: nothing, here."""
        return ""


class UnfoundedArgument(msgspec.Struct, frozen=True, array_like=True):
    """A destination that nobody named who may."""

    argument: str
    kind: str
    value: str
    why: str


class CheckedCall(msgspec.Struct, frozen=True, array_like=True):
    """The outcome for one call: ``allow``, ``review`` or ``block``, and why."""

    decision: str
    findings: tuple[UnfoundedArgument, ...]


class CheckedCalls(msgspec.Struct, frozen=True, array_like=True):
    """The outcomes in the order of the calls."""

    calls: tuple[CheckedCall, ...]
