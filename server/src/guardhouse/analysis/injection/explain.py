"""Why a text scored what it scored: parts that sum to the logit exactly, and the places that raised it."""

from dataclasses import dataclass
from typing import Final

from guardhouse.analysis.injection.calibrate import knots_used
from guardhouse.analysis.injection.evidence import Segment, segments
from guardhouse.analysis.injection.features import buckets
from guardhouse.analysis.injection.head import Head, parts
from guardhouse.analysis.injection.known_words import CATEGORY_WORDS, WORD
from guardhouse.analysis.injection.score import Engine, JudgedView, Judgement

_ENCODINGS: Final = frozenset(
    {
        "base64",
        "hex",
        "base32",
        "ascii85",
        "codes",
        "rot13",
        "reversed",
        "tags",
        "variation_bytes",
        "zero_width_bits",
    }
)
_WHERE: Final = {"html_hidden": "in a part of the page that is not shown"}
_SAYS: Final = {
    "jailbreak": "Asks the model to play a part without its rules",
    "system_prompt_leak": "Asks for the model's own instructions",
    "injection": "Asks to discard or replace earlier instructions",
    "data_extraction": "Asks for secrets or for data to be sent away",
    "encoding_attack": "Asks to follow instructions that are written in code",
    "delimiter_attack": "Imitates the marks of a conversation format",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One summand of a logit, in thousandths; ``source`` is bias, characters, words, ``rule:<id>`` or cap.

    Where another engine judged, ``given`` stands for the first three.
    """

    source: str
    milli: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """``parts`` sum to ``logit_milli``; ``knots`` are the two (logit, score) pairs that the score lies between."""

    logit_milli: int
    parts: tuple[Part, ...]
    band: int
    knots: tuple[tuple[int, int], tuple[int, int]]


def explain(engine: Engine, judgement: Judgement) -> Explanation | None:
    """Take the decisive reading's logit apart; ``None`` for a text without words."""
    decided = judgement.decisive
    if decided is None:
        return None
    channel = judgement.question.channel
    given = judgement.question.given is not None
    said = (
        [Part("given", decided.head_milli)] if given else _parts_of_head(engine.model.heads[channel], decided)
    )
    said += [Part(f"rule:{hit.rule.id}", hit.rule.points_milli) for hit in decided.hits]
    if decided.capped:
        said.append(Part("cap", -decided.capped))
    knots = knots_used(engine.model.curves[channel], decided.band, decided.logit_milli)
    return Explanation(decided.logit_milli, tuple(said), decided.band, knots)


def _parts_of_head(head: Head, decided: JudgedView) -> list[Part]:
    start, end = decided.windows[decided.worst]
    added = parts(head, buckets([decided.view.reading.text[start:end]]))
    milli = {
        "bias": round(1000 * head.bias),
        "characters": round(1000 * float(added.characters[0])),
        "words": round(1000 * float(added.words[0])),
    }
    largest = max(milli, key=lambda name: abs(milli[name]))
    milli[largest] += decided.head_milli - sum(milli.values())
    return [Part(name, value) for name, value in milli.items()]


def evidence(engine: Engine, judgement: Judgement) -> tuple[Segment, ...]:
    """Return the stretches of the decisive reading whose n-grams raised the score, in its own offsets."""
    decided = judgement.decisive
    if decided is None or judgement.question.given is not None:
        return ()
    start, end = decided.windows[decided.worst]
    found = segments(engine.model.heads[judgement.question.channel], decided.view.reading.text[start:end])
    return tuple(Segment(start + one.start, start + one.end, one.milli) for one in found)


def threat_types(judgement: Judgement) -> tuple[str, ...]:
    """Name what kind of attack the decisive reading looks like, from its rules, else from its words."""
    decided = judgement.decisive
    if decided is None:
        return ()
    named = {hit.rule.category for hit in decided.hits} or {category_of(decided.view.reading.text)}
    if decided.view.kind in _ENCODINGS:
        named.add("encoding_attack")
    return tuple(sorted(named))


def category_of(text: str) -> str:
    """Return the category whose words a text has most of, ``injection`` when it has none of any."""
    words = WORD.findall(text.lower())
    counts = {
        category: sum(1 for word in words if word in known) for category, known in CATEGORY_WORDS.items()
    }
    best = max(counts, key=lambda category: counts[category])
    return best if counts[best] else "injection"


def sentence(judgement: Judgement) -> str | None:
    """Say in one sentence why the text was judged as it was; the first rule by severity decides the wording."""
    decided = judgement.decisive
    if decided is None:
        return None
    strongest = max(decided.hits, key=lambda hit: (hit.rule.severity, hit.rule.points_milli), default=None)
    category = strongest.rule.category if strongest else category_of(decided.view.reading.text)
    where = _WHERE.get(decided.view.kind, f"inside {decided.view.kind.replace('_', ' ')}-decoded text")
    return f"{_SAYS[category]}{'' if decided.view.kind == 'text' else f', {where}'}."
