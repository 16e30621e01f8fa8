"""What the engine says of a text, as it travels: from an engine process, into a record, out to the caller."""

from typing import Final

import msgspec

THREATS: Final = frozenset(
    {
        "jailbreak",
        "system_prompt_leak",
        "injection",
        "data_extraction",
        "encoding_attack",
        "delimiter_attack",
    }
)


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="judge"):
    """A text to judge; ``detail_from`` is the score (milli) from which reasons are worked out, ``explain`` always.

    ``given`` is another engine's score (milli), which then stands for that of the heads.
    """

    text: str
    channel: str = "user"
    rules_off: tuple[str, ...] = ()
    detail_from: int = 200
    explain: bool = False
    given: int | None = None


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why: a rule that matched or a stretch whose n-grams weigh; ``span`` is in the text as sent."""

    kind: str
    view: str
    span: tuple[int, int]
    text: str
    milli: int
    category: str
    rule: str | None = None
    severity: int | None = None


class Reading(msgspec.Struct, frozen=True):
    """A decoded reading of the text: where it was found, what it says (an excerpt), its own score."""

    id: str
    kind: str
    span: tuple[int, int]
    text: str
    score_milli: int


class Instruction(msgspec.Struct, frozen=True):
    """A stretch of a document that reads like an instruction to an assistant."""

    span: tuple[int, int]
    text: str
    score_milli: int


class Marked(msgspec.Struct, frozen=True):
    """A string of a canary's form, as its digest in hex: whoever made the tokens knows whether it is one."""

    span: tuple[int, int]
    digest: str


class Part(msgspec.Struct, frozen=True):
    """One summand of a logit, in thousandths."""

    source: str
    milli: int


class Explained(msgspec.Struct, frozen=True):
    """A logit and its parts, which sum to it; the two (logit, score) pairs that the score was read between."""

    logit_milli: int
    parts: tuple[Part, ...]
    band: int
    knots_used: tuple[tuple[int, int], tuple[int, int]]


class Verdict(msgspec.Struct, frozen=True):
    """One text's verdict before any threshold: thousandths, and everything that explains them."""

    score_milli: int
    threat_types: tuple[str, ...]
    reason: str | None
    reasons: tuple[Reason, ...]
    views: tuple[Reading, ...]
    instructions: tuple[Instruction, ...]
    flags: tuple[str, ...]
    explain: Explained | None
    engine_version: str
    marked: tuple[Marked, ...] = ()
