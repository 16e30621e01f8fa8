"""The engine's one entry: texts in, judgements out, whole batches at once.

A judgement depends on its own text and the engine's version, never on its neighbours in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from guardhouse.analysis.injection.artefact import Model
from guardhouse.analysis.injection.calibrate import band_of, logit_milli, score_milli
from guardhouse.analysis.injection.features import buckets
from guardhouse.analysis.injection.head import logits_milli
from guardhouse.analysis.injection.normalise import Normalised, View, normalise
from guardhouse.analysis.injection.phrases import Found, Phrases, blanked, find
from guardhouse.analysis.injection.rules import MOST_POINTS, Hit, Pack, match
from guardhouse.analysis.injection.windows import Window, external_windows, user_windows

EMPTY: Final = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """A model and the rules that go with it."""

    model: Model
    pack: Pack


@dataclass(frozen=True, slots=True)
class Own:
    """What a tenant adds: rules of its own, phrases that it allows, phrases that it denies."""

    packs: tuple[Pack, ...] = ()
    allow: Phrases = field(default_factory=Phrases)
    deny: Phrases = field(default_factory=Phrases)


NOTHING: Final = Own()


@dataclass(frozen=True, slots=True)
class Question:
    """A text and the channel it came by: ``user`` or ``external``; ``rules_off`` are ids of rules to leave out.

    ``given`` is a score (milli) from elsewhere: it stands for the heads' in every reading, and rules add to it.
    """

    text: str
    channel: str = "user"
    rules_off: frozenset[str] = frozenset()
    given: int | None = None
    own: Own = NOTHING
    core: bool = True  # whether the rules that ship count


@dataclass(frozen=True, slots=True)
class Denied:
    """A denied phrase in a reading of a text."""

    view: View
    found: Found


@dataclass(frozen=True, slots=True)
class JudgedView:
    """One reading's judgement.

    ``windows`` are stretches of the reading with the logit (milli) that the head gave them; ``worst`` is the index
    of the greatest. ``head_milli`` is that logit, or that of a given score. ``logit_milli`` is ``head_milli`` and the
    points of ``hits``, of which ``capped`` were taken off.
    """

    view: View
    windows: tuple[Window, ...]
    logits: tuple[int, ...]
    worst: int
    head_milli: int
    hits: tuple[Hit, ...]
    capped: int
    logit_milli: int
    band: int
    score_milli: int

    def window_score(self, engine: Engine, channel: str, number: int) -> int:
        """Return what one window alone would score, without rules."""
        return score_milli(engine.model.curves[channel], self.band, self.logits[number])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the engine says of one text: thousandths, the reading that decided, all readings that hold text."""

    question: Question
    score_milli: int
    decisive: JudgedView | None
    views: tuple[JudgedView, ...]
    flags: tuple[str, ...]
    denied: tuple[Denied, ...] = ()


def judge(engine: Engine, questions: Sequence[Question]) -> list[Judgement]:
    """Judge texts; a text that normalises to white space scores 0."""
    read = [normalise(q.text, external=q.channel == "external") for q in questions]
    denied = [_denied(n, q) for q, n in zip(questions, read, strict=True)]
    read = [_without_allowed(n, q) for q, n in zip(questions, read, strict=True)]
    windows = [[_windows(view, q.channel) for view in n.views] for q, n in zip(questions, read, strict=True)]
    logits = _logits(engine, questions, read, windows)
    judgements: list[Judgement] = []
    for number, question in enumerate(questions):
        views = tuple(
            _judge_view(engine, question, view, cut, logits[number, place])
            for place, (view, cut) in enumerate(zip(read[number].views, windows[number], strict=True))
            if cut
        )
        decisive = max(views, key=lambda view: view.score_milli, default=None)
        judgements.append(
            Judgement(
                question,
                decisive.score_milli if decisive else EMPTY,
                decisive,
                views,
                read[number].flags,
                denied[number],
            )
        )
    return judgements


def _denied(read: Normalised, question: Question) -> tuple[Denied, ...]:
    """Find denied phrases before allowed ones are blanked out: deny goes before allow."""
    deny = question.own.deny
    return tuple(
        Denied(view, one) for view in read.views for one in find(deny, view.reading.text, question.channel)
    )


def _without_allowed(read: Normalised, question: Question) -> Normalised:
    allow = question.own.allow
    if not allow.by_first:
        return read
    views = tuple(
        replace(view, reading=blanked(view.reading, find(allow, view.reading.text, question.channel)))
        for view in read.views
    )
    return replace(read, views=views)


def _windows(view: View, channel: str) -> list[Window]:
    text = view.reading.text
    if not text.strip():
        return []
    return user_windows(text) if channel == "user" else external_windows(text)


def _logits(
    engine: Engine,
    questions: Sequence[Question],
    read: Sequence[Normalised],
    windows: Sequence[Sequence[Sequence[Window]]],
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the logits of the windows of each (text, view), one pass per head over all of them."""
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for channel, head in engine.model.heads.items():
        places = [
            (number, place)
            for number, question in enumerate(questions)
            if question.channel == channel
            for place in range(len(windows[number]))
        ]
        texts = [
            read[number].views[place].reading.text[start:end]
            for number, place in places
            for start, end in windows[number][place]
        ]
        if not texts:
            continue
        values = logits_milli(head, buckets(texts)).tolist()
        start = 0
        for number, place in places:
            end = start + len(windows[number][place])
            found[number, place] = tuple(values[start:end])
            start = end
    return found


def _judge_view(
    engine: Engine, question: Question, view: View, windows: Sequence[Window], logits: tuple[int, ...]
) -> JudgedView:
    text = view.reading.text
    packs = (*((engine.pack,) if question.core else ()), *question.own.packs)
    hits = tuple(hit for pack in packs for hit in match(pack, text, question.channel, question.rules_off))
    points = sum(hit.rule.points_milli for hit in hits)
    capped = max(points - MOST_POINTS, 0)
    worst = max(range(len(logits)), key=logits.__getitem__)
    curve = engine.model.curves[question.channel]
    band = band_of(question.channel, len(text) if question.channel == "user" else len(windows))
    head = logits[worst] if question.given is None else logit_milli(curve, band, question.given)
    logit = head + points - capped
    score = score_milli(curve, band, logit)
    if question.given is not None:  # a knot's steep side has more scores than logits
        score = max(score, question.given) if points else question.given
    return JudgedView(view, tuple(windows), logits, worst, head, hits, capped, logit, band, score)
