"""Scores, features and readings are those of the published vectors, on every machine and every Python."""

import json
from pathlib import Path
from typing import Any

import pytest

from guardhouse.analysis.injection.explain import evidence
from guardhouse.analysis.injection.features import BUCKETS, buckets
from guardhouse.analysis.injection.normalise import VERSION, normalise
from guardhouse.analysis.injection.score import Engine, Question, judge
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.model_file import DATA, MODEL

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[4] / "contract" / "vectors" / "injection.json").read_text(encoding="utf-8")
)
TEXTS: list[dict[str, Any]] = VECTORS["texts"]
REVIEW, BLOCK = 300, 500


@pytest.fixture(scope="module")
def shipped() -> Engine:
    return load_engine(DATA / MODEL)


def test_the_vectors_are_of_the_model_that_ships(shipped: Engine) -> None:
    assert VECTORS["engine"] == shipped.model.version
    assert VECTORS["normaliser_version"] == VERSION


def test_there_are_enough_of_them() -> None:
    assert len(TEXTS) == 200
    assert sum("buckets" in one for one in TEXTS) == 20
    assert len(VECTORS["normaliser"]) >= 40


def test_every_text_has_its_score(shipped: Engine) -> None:
    said = judge(shipped, [Question(one["text"], one["channel"]) for one in TEXTS])
    assert [judgement.score_milli for judgement in said] == [one["score_milli"] for one in TEXTS]


@pytest.mark.parametrize("one", [one for one in TEXTS if "buckets" in one], ids=lambda one: one["text"][:20])
def test_a_text_has_its_features(one: dict[str, Any]) -> None:
    assert [int(key) % BUCKETS for key in buckets([one["text"]]).keys] == one["buckets"]


@pytest.mark.parametrize("case", VECTORS["normaliser"], ids=range(len(VECTORS["normaliser"])))
def test_a_text_has_its_readings(case: dict[str, Any]) -> None:
    found = normalise(case["text"], external=case["channel"] == "external")
    assert list(found.flags) == case["flags"]
    readings = [
        {
            "kind": view.kind,
            "text": view.reading.text,
            "starts": None if view.reading.starts is None else list(view.reading.starts),
            "ends": None if view.reading.ends is None else list(view.reading.ends),
        }
        for view in found.views
    ]
    assert readings == case["readings"]


def test_every_step_of_the_normaliser_has_a_case() -> None:
    flags = [flag for case in VECTORS["normaliser"] for flag in case["flags"]]
    steps = {
        "control", "zero_width", "compat", "combining", "lookalike", "html", "percent", "escapes", "spaced", "leet",
        "scrambled", "tags", "base64", "hex", "codes", "rot13", "reversed",
    }  # fmt: skip
    assert {step for step in steps if flags.count(step) < 2} == set()


def test_harmless_and_hostile_texts_are_mostly_told_apart() -> None:
    """A floor, far below what is measured: it finds a model that went wrong, not one that got a little worse."""
    right = [(one["score_milli"] >= BLOCK) == one["attack"] for one in TEXTS]
    assert sum(right) >= 0.8 * len(right)


def test_without_the_stretches_that_it_names_a_flagged_text_scores_lower(shipped: Engine) -> None:
    flagged = [one for one in TEXTS if one["score_milli"] >= REVIEW]
    said = judge(shipped, [Question(one["text"], one["channel"]) for one in flagged])
    rests = []
    for one, judgement in zip(flagged, said, strict=True):
        assert judgement.decisive is not None
        spans = [judgement.decisive.view.reading.span(e.start, e.end) for e in evidence(shipped, judgement)]
        places = {place for start, end in spans for place in range(start, end)}
        rest = "".join(c for place, c in enumerate(one["text"]) if place not in places)
        rests.append(Question(rest, one["channel"]))
    lower = [
        after.score_milli < before.score_milli
        for before, after in zip(said, judge(shipped, rests), strict=True)
    ]
    assert sum(lower) >= 0.9 * len(lower)
