"""What the engine says of a text, as it travels: from an engine process, into a record, out to the caller."""

from typing import Any, Final

import msgspec

from guardhouse.detections.call_task import CallsAsk
from guardhouse.detections.scan_task import ScanAsk

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

INSTRUCTION_FROM: Final = 300  # milli: a window of a document that scores this is listed


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="judge"):
    """A text to judge; ``detail_from`` is the score (milli) from which reasons are worked out, ``explain`` always.

    ``given`` is another engine's score (milli), which then stands for that of the heads. ``core``: whether the
    rules that ship count; ``own`` is the digest of what a tenant adds (:class:`Additions`), empty for nothing.
    ``listed_from``: the score (milli) from which a window of a document is listed as an instruction.
    """

    text: str
    channel: str = "user"
    rules_off: tuple[str, ...] = ()
    detail_from: int = 200
    explain: bool = False
    given: int | None = None
    core: bool = True
    own: str = ""
    listed_from: int = INSTRUCTION_FROM


class ListedPhrase(msgspec.Struct, frozen=True, array_like=True):
    """A phrase of a list, by its entry's name; ``channel`` None speaks for both."""

    entry: str
    text: str
    channel: str | None = None


class Additions(msgspec.Struct, frozen=True, array_like=True):
    """What a tenant adds to the engine: packs of rules (JSON, as checked), phrases that it allows and denies."""

    packs: tuple[list[dict[str, Any]], ...] = ()
    allow: tuple[ListedPhrase, ...] = ()
    deny: tuple[ListedPhrase, ...] = ()


Task = Ask | ScanAsk | CallsAsk


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """Texts to judge, and those additions by digest that the process has not been given before."""

    asks: list[Task]
    additions: dict[str, Additions] = {}


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why: a rule that matched, a stretch whose n-grams weigh, an entry of a list; ``span`` is in the text as sent."""

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


class Shift(msgspec.Struct, frozen=True):
    """What the tenant's calibration did to a score: thousandths of log-odds, and the score before and after."""

    log_odds_milli: int
    before_milli: int
    after_milli: int


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """A logit and its parts, which sum to it; the two (logit, score) pairs that the score was read between.

    ``shift`` comes after all of these: it moves the score that the logit gave, so it is no part of the logit.
    """

    logit_milli: int
    parts: tuple[Part, ...]
    band: int
    knots_used: tuple[tuple[int, int], tuple[int, int]]
    shift: Shift | None = None


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
    engine_version: str | None
    listed: str | None = None  # the entry of a deny list that is in the text
    marked: tuple[Marked, ...] = ()
