"""Train without a source, generator included, and judge that source as the server would."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from guardhouse.analysis.injection.artefact import Model
from guardhouse.analysis.injection.calibrate import BORDERS, SCORES, Curve
from guardhouse.analysis.injection.head import Head
from guardhouse.analysis.injection.rules import Pack
from guardhouse.analysis.injection.score import Engine, Question, judge
from guardhouse.analysis.injection.windows import external_windows
from train.calibrate import Outcome
from train.fit import Hasher, fit
from train.folds import Fold, benign_texts, kept, left_out
from train.generator.generate import Counts, generate
from train.generator.hard_negatives import with_triggers
from train.generator.transforms import TRANSFORMS
from train.materials import Lesson, for_external, for_user, inner_text, passages
from train.read_sets import SELF_INSTRUCT
from train.row import EXTERNAL, USER, Row

_TEXTS_AT_ONCE: Final = 64
_TRIGGERED, _DISGUISED = 400, 60  # left-out texts per fold that are tried again, changed
_DISGUISED_CUT: Final = 400
_MOST_SENTENCES: Final = 5  # windows from the first to the last, pairs included


@dataclass(frozen=True, slots=True)
class Tried:
    """Outcomes of a fold: its own texts, harmless ones cut short or with trigger words in, and both kinds in disguise.

    ``short`` are one to three sentences out of each harmless document: documents are long, what a tool returns is not,
    and the greatest of few windows is smaller than the greatest of many.
    """

    fold: Fold
    plain: list[Outcome]
    short: list[Outcome]
    triggered: list[Outcome]
    disguised: dict[str, list[Outcome]]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all folds share: the rows of the sets, the rules, the seed, how much to generate and the hashes so far."""

    rows: Sequence[Row]
    pack: Pack
    seed: str
    counts: Counts
    most_tried: int  # texts per source and label
    hasher: Hasher


def train_head(setting: Setting, rows: Sequence[Row], channel: str) -> Head:
    """Fit the head of a channel on rows of the sets and on what the generator makes beside their harmless texts."""
    return fit(lessons(setting, rows, made_beside(setting, rows), channel), channel, setting.hasher)


def made_beside(setting: Setting, rows: Sequence[Row]) -> list[Row]:
    """Return what the generator makes when these rows of the sets are all it may look at."""
    return generate(setting.seed, benign_texts(rows), passages(rows), setting.counts)


def lessons(setting: Setting, rows: Sequence[Row], made: Sequence[Row], channel: str) -> list[Lesson]:
    """Return what the head of a channel learns from rows of the sets and from generated ones."""
    everything = [*rows, *made]
    return for_user(everything) if channel == USER else for_external(everything, setting.seed)


def try_fold(fold: Fold, setting: Setting) -> Tried:
    """Train without the fold's families and judge them."""
    head = train_head(setting, kept(fold, setting.rows), fold.channel)
    engine = engine_of(head, fold.channel, setting.pack)
    texts = texts_of(fold, setting)
    chance = Random(f"{setting.seed}/change/{fold.name}")
    benign = [row for row in texts if not row.label]
    triggered = [
        replace(row, text=with_triggers(chance, row.text)) for row in _sample(chance, benign, _TRIGGERED)
    ]
    disguised: dict[str, list[Outcome]] = {}
    if fold.channel == USER:
        attacks = [row for row in texts if row.label]
        chosen = _sample(chance, attacks, _DISGUISED) + _sample(chance, benign, _DISGUISED)
        chosen = [replace(row, text=row.text[:_DISGUISED_CUT]) for row in chosen]
        disguised["none"] = judged(engine, fold, chosen)
        for name, transform in TRANSFORMS.items():
            hidden = [replace(row, text=transform(chance, row.text)) for row in chosen]
            disguised[name] = judged(engine, fold, hidden)
    short = _short(chance, benign) if fold.channel == EXTERNAL else []
    return Tried(
        fold,
        judged(engine, fold, texts),
        judged(engine, fold, short),
        judged(engine, fold, triggered),
        disguised,
    )


def _short(chance: Random, rows: Sequence[Row]) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        windows = sorted(set(external_windows(row.text)))
        start = chance.randrange(len(windows))
        end = min(start + chance.randrange(_MOST_SENTENCES), len(windows) - 1)
        found.append(replace(row, text=row.text[windows[start][0] : windows[end][1]]))
    return [row for row in found if row.text.strip()]


def texts_of(fold: Fold, setting: Setting) -> list[Row]:
    """Return the left-out texts that a fold is tried on, at most ``most_tried`` of each label."""
    chance = Random(f"{setting.seed}/try/{fold.name}")
    texts = left_out(fold, setting.rows)
    if fold.channel == EXTERNAL:
        texts = [
            replace(r, text=inner_text(r.text)) if r.family.startswith(SELF_INSTRUCT) else r for r in texts
        ]
    return [
        row
        for label in (1, 0)
        for row in _sample(
            chance, [row for row in texts if row.text and row.label == label], setting.most_tried
        )
    ]


def engine_of(head: Head, channel: str, pack: Pack) -> Engine:
    """Return an engine that judges one channel and whose scores mean nothing yet: only its logits are read."""
    knots = tuple(1_000 * n for n in range(len(SCORES)))
    curve = Curve(tuple(knots for _ in range(len(BORDERS[channel]) + 1)))
    return Engine(Model("fold", "", {}, {channel: head}, {channel: curve}), pack)


def judged(engine: Engine, fold: Fold, rows: Sequence[Row]) -> list[Outcome]:
    """Return the greatest logit over the readings of each text; text that is white space has no outcome."""
    outcomes: list[Outcome] = []
    for n in range(0, len(rows), _TEXTS_AT_ONCE):
        some = rows[n : n + _TEXTS_AT_ONCE]
        for row, said in zip(
            some, judge(engine, [Question(r.text, fold.channel) for r in some]), strict=True
        ):
            if said.views:
                worst = max(said.views, key=lambda view: view.logit_milli)
                outcomes.append(Outcome(fold.name, row.label, worst.band, worst.logit_milli))
    return outcomes


def _sample(chance: Random, rows: list[Row], most: int) -> list[Row]:
    return rows if len(rows) <= most else chance.sample(rows, most)
