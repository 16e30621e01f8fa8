"""Ask the engine and write down what it says; only engine processes do, so only they carry it in memory."""

from collections.abc import Mapping, Sequence
from typing import Final

from guardhouse.analysis.injection.canary import candidates
from guardhouse.analysis.injection.explain import evidence, explain, sentence, threat_types
from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.hidden_characters import clean
from guardhouse.analysis.injection.offsets import Reading as ReadText
from guardhouse.analysis.injection.phrases import Phrase, compile_phrases
from guardhouse.analysis.injection.rules import compile_pack
from guardhouse.analysis.injection.score import (
    NOTHING,
    Engine,
    JudgedView,
    Judgement,
    Own,
    Question,
    judge,
)
from guardhouse.detections.decide import HARD
from guardhouse.detections.token_digest import token_digest
from guardhouse.detections.verdict import (
    Additions,
    Ask,
    Explained,
    Instruction,
    Marked,
    Part,
    Reading,
    Reason,
    Verdict,
)

EXCERPT: Final = 200  # code points
MOST_INSTRUCTIONS: Final = 50
_VISIBLE: Final = {"\n", "\t", " "}
_NONE: Final[Mapping[str, Own]] = {}
MOST_DENIED: Final = 20  # reasons
DENIED_CATEGORY: Final = "injection"


def compiled(added: Additions) -> Own:
    """Compile what a tenant adds; its rules were checked when they were taken."""
    return Own(
        tuple(compile_pack(rules) for rules in added.packs),
        compile_phrases(Phrase(one.entry, one.text, one.channel) for one in added.allow),
        compile_phrases(Phrase(one.entry, one.text, one.channel) for one in added.deny),
    )


def verdicts(engine: Engine, asks: Sequence[Ask], known: Mapping[str, Own] = _NONE) -> list[Verdict]:
    """Judge texts; each verdict is the same whatever else is in the batch. ``known``: additions by digest."""
    questions = [
        Question(
            ask.text,
            ask.channel,
            frozenset(ask.rules_off),
            ask.given,
            known[ask.own] if ask.own else NOTHING,
            ask.core,
        )
        for ask in asks
    ]
    return [_verdict(engine, ask, judged) for ask, judged in zip(asks, judge(engine, questions), strict=True)]


def _verdict(engine: Engine, ask: Ask, judgement: Judgement) -> Verdict:
    detailed = ask.explain or judgement.score_milli >= ask.detail_from
    if judgement.denied:
        return _denied(engine, ask, judgement)
    return Verdict(
        score_milli=judgement.score_milli,
        threat_types=threat_types(judgement) if detailed else (),
        reason=sentence(judgement) if detailed else None,
        reasons=_reasons(engine, judgement) if detailed else (),
        views=tuple(_reading(one) for one in judgement.views if one.view.kind != "text"),
        instructions=_instructions(engine, judgement, ask.listed_from) if ask.channel == "external" else (),
        flags=judgement.flags,
        explain=_explained(engine, judgement) if ask.explain else None,
        engine_version=engine.model.version,
        marked=_marked(ask.text, judgement),
    )


def _denied(engine: Engine, ask: Ask, judgement: Judgement) -> Verdict:
    """Write down that phrases of a deny list are in the text: nothing else is weighed."""
    reasons = tuple(
        Reason(
            "list",
            one.view.id,
            one.view.reading.span(one.found.start, one.found.end),
            excerpt(one.view.reading.text[one.found.start : one.found.end]),
            0,
            DENIED_CATEGORY,
            one.found.phrase.id,
        )
        for one in judgement.denied[:MOST_DENIED]
    )
    return Verdict(
        score_milli=HARD,
        threat_types=(DENIED_CATEGORY,),
        reason="Holds a phrase of a deny list.",
        reasons=reasons,
        views=tuple(_reading(one) for one in judgement.views if one.view.kind != "text"),
        instructions=_instructions(engine, judgement, ask.listed_from) if ask.channel == "external" else (),
        flags=judgement.flags,
        explain=None,
        engine_version=engine.model.version,
        listed=judgement.denied[0].found.phrase.id,
    )


def _reasons(engine: Engine, judgement: Judgement) -> tuple[Reason, ...]:
    decided = judgement.decisive
    if decided is None:
        return ()
    reading, view = decided.view.reading, decided.view.id
    by_rule = [
        Reason(
            "rule",
            view,
            reading.span(hit.start, hit.end),
            excerpt(reading.text[hit.start : hit.end]),
            hit.rule.points_milli,
            hit.rule.category,
            hit.rule.name,
            hit.rule.severity,
        )
        for hit in decided.hits
    ]
    category = next(iter(threat_types(judgement)), "injection")
    by_words = [
        Reason(
            "ngrams",
            view,
            reading.span(one.start, one.end),
            excerpt(reading.text[one.start : one.end]),
            one.milli,
            category,
        )
        for one in evidence(engine, judgement)
    ]
    return (*by_rule, *by_words)


def _marked(text: str, judgement: Judgement) -> tuple[Marked, ...]:
    """Look for canaries in the text before any word of it was repaired, and in what is decoded from it."""
    readings = [clean(ReadText(text), Findings())]
    readings += [one.view.reading for one in judgement.views if one.view.kind != "text"]
    found = {
        Marked((one.start, one.end), token_digest(one.token)): None
        for reading in readings
        for one in candidates(reading)
    }
    return tuple(found)


def _reading(judged: JudgedView) -> Reading:
    reading = judged.view.reading
    span = reading.span(0, len(reading.text))
    return Reading(judged.view.id, judged.view.kind, span, excerpt(reading.text), judged.score_milli)


def _instructions(engine: Engine, judgement: Judgement, listed_from: int) -> tuple[Instruction, ...]:
    """List the windows of a document's readings that score, the surest first, without those inside another."""
    found: list[Instruction] = []
    for judged in judgement.views:
        reading = judged.view.reading
        if judged.window_score(engine, "external", judged.worst) < listed_from:
            continue
        for number, (start, end) in enumerate(judged.windows):
            score = judged.window_score(engine, "external", number)
            if score >= listed_from:
                found.append(Instruction(reading.span(start, end), excerpt(reading.text[start:end]), score))
    found.sort(key=lambda one: (-one.score_milli, one.span))
    kept: list[Instruction] = []
    for one in found:
        if len(kept) == MOST_INSTRUCTIONS:
            break
        if not any(_touch(one.span, other.span) for other in kept):
            kept.append(one)
    return tuple(sorted(kept, key=lambda one: one.span))


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _explained(engine: Engine, judgement: Judgement) -> Explained | None:
    said = explain(engine, judgement)
    if said is None:
        return None
    return Explained(
        said.logit_milli, tuple(Part(one.source, one.milli) for one in said.parts), said.band, said.knots
    )


def excerpt(text: str) -> str:
    r"""Return at most 200 code points, what is not seen written as ``\u{200B}``."""
    cut = text[:EXCERPT]
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() or c in _VISIBLE else f"\\u{{{ord(c):04X}}}" for c in cut)
