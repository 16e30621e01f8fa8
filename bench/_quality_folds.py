"""The folds of the detection benchmark: each trains without something and judges exactly that, as served."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from _quality_anchors import PlainRegression, keywords, outcomes

from train.calibrate import Outcome
from train.fit import fit
from train.folds import FOLDS, Fold, kept
from train.generator.attacks import SHARES
from train.generator.transforms import TRANSFORMS
from train.read_sets import BIPIA, SELF_INSTRUCT
from train.results import WHOLE
from train.row import EXTERNAL, USER, Row
from train.try_folds import Setting, Tried, engine_of, judged, lessons, made_beside, texts_of, try_fold

SAMPLE: Final = 200  # generated texts of a family or language that are judged, per label
_DISGUISED, _DISGUISED_CUT = 120, 400
FAMILIES: Final = tuple(SHARES)
LANGUAGES: Final = ("de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ko", "hi", "tr", "hr")
DISGUISES: Final = {
    "look of letters": ("zero_width", "lookalikes", "full_width", "random_case", "tags"),
    "encodings": ("base64", "hex", "percent"),
    "order and spelling": ("leet", "spaced", "rot13", "scrambled", "reversed"),
}
SINGLE: Final = "one head for all"


@dataclass(frozen=True, slots=True)
class Found:
    """What one fold said: ours, the anchors by name on the same texts, and ours with everything sent as ``user``."""

    name: str
    kind: str
    channel: str
    ours: Tried | None = None
    plain: list[Outcome] = field(default_factory=list)
    anchors: dict[str, list[Outcome]] = field(default_factory=dict)
    disguised: dict[str, list[Outcome]] = field(default_factory=dict)


def plan(*, quick: bool) -> list[tuple[str, str]]:
    """Return (kind, name) of every fold to run."""
    wanted = [("source", fold.name) for fold in FOLDS] + [("single", SINGLE)]
    if not quick:
        wanted += [("family", name) for name in FAMILIES]
        wanted += [("language", name) for name in LANGUAGES]
        wanted += [("disguise", name) for name in DISGUISES]
    return wanted


def prepare(setting: Setting) -> None:
    """Generate and hash once what the folds without a family or language share, before the processes part."""
    _made.extend(made_beside(setting, setting.rows))
    for channel in (USER, EXTERNAL):
        setting.hasher.matrix([one.text for one in lessons(setting, setting.rows, _made, channel)])


_made: Final[list[Row]] = []


def run(setting: Setting, kind: str, name: str) -> Found:
    """Train and judge one fold."""
    return {"source": _source, "single": _single, "disguise": _disguise}.get(kind, _generated)(
        setting, name, kind
    )


def _source(setting: Setting, name: str, kind: str) -> Found:
    fold = next(fold for fold in FOLDS if fold.name == name)
    ours = try_fold(fold, setting)
    if name == WHOLE:
        return Found(name, kind, fold.channel, ours, ours.plain)
    rows = kept(fold, setting.rows)
    anchor = PlainRegression(lessons(setting, rows, made_beside(setting, rows), fold.channel))
    texts = texts_of(fold, setting)
    said = [row.text for row in texts]
    anchors = {
        "keywords": outcomes(name, texts, keywords(said)),
        "tfidf": outcomes(name, texts, anchor(said)),
    }
    return Found(name, kind, fold.channel, ours, ours.plain, anchors)


def _single(setting: Setting, name: str, kind: str) -> Found:
    """Judge all documents by a user head that knows none of their sources."""
    rows = [row for row in setting.rows if not row.family.startswith((BIPIA, SELF_INSTRUCT))]
    head = fit(lessons(setting, rows, made_beside(setting, rows), USER), USER, setting.hasher)
    engine = engine_of(head, USER, setting.pack)
    found: list[Outcome] = []
    for fold in FOLDS:
        if fold.channel == EXTERNAL and fold.name != WHOLE:
            found += judged(engine, replace(fold, channel=USER), texts_of(fold, setting))
    return Found(name, kind, USER, plain=found)


def _generated(setting: Setting, name: str, kind: str) -> Found:
    """Train without a family or language of the generator and judge it."""
    made = _made or made_beside(setting, setting.rows)
    channel = EXTERNAL if name == "notes" else USER
    if kind == "family":
        tried = [row for row in made if row.family == name]
        rest = [row for row in made if row.family not in {name, "in_document", "split"}]
    else:
        tried = [row for row in made if row.lang == name]
        rest = [row for row in made if row.lang != name]
    head = fit(lessons(setting, setting.rows, rest, channel), channel, setting.hasher)
    engine = engine_of(head, channel, setting.pack)
    chance = Random(f"{setting.seed}/{kind}/{name}")
    chosen = [
        row
        for label in (1, 0)
        for row in _sample(chance, [row for row in tried if row.label == label], SAMPLE)
    ]
    return Found(name, kind, channel, plain=judged(engine, Fold(name, channel, frozenset()), chosen))


def _disguise(setting: Setting, name: str, kind: str) -> Found:
    """Train without harmless texts in these disguises and without one source, and judge that source in them."""
    fold = next(fold for fold in FOLDS if fold.name == "aliakarma")
    rows = kept(fold, setting.rows)
    made = [row for row in made_beside(setting, rows) if row.detail not in DISGUISES[name]]
    engine = engine_of(fit(lessons(setting, rows, made, USER), USER, setting.hasher), USER, setting.pack)
    chance = Random(f"{setting.seed}/{kind}/{name}")
    texts = texts_of(fold, setting)
    chosen = [
        replace(row, text=row.text[:_DISGUISED_CUT])
        for label in (1, 0)
        for row in _sample(chance, [row for row in texts if row.label == label], _DISGUISED)
    ]
    worn = {
        disguise: judged(
            engine, fold, [replace(row, text=TRANSFORMS[disguise](chance, row.text)) for row in chosen]
        )
        for disguise in DISGUISES[name]
    }
    return Found(name, kind, USER, plain=judged(engine, fold, chosen), disguised=worn)


def _sample(chance: Random, rows: Sequence[Row], most: int) -> list[Row]:
    return list(rows) if len(rows) <= most else chance.sample(list(rows), most)
