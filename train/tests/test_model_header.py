"""The committed model says where it came from, and it is what this repository would make."""

from pathlib import Path
from typing import Any

import pytest

from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.model_file import DATA, MODEL
from train.generator.generate import VERSION
from train.measure import LINES
from train.read_sets import known_sets
from train.write_card import card


@pytest.fixture(scope="module")
def training() -> dict[str, Any]:
    said: dict[str, Any] = load_engine(DATA / MODEL).model.header["training"]
    return said


def test_it_was_trained_on_the_seven_sets_whole(training: dict[str, Any]) -> None:
    assert {name: about["sha256"] for name, about in training["sets"].items()} == {
        name: about["sha256"] for name, about in known_sets().items()
    }
    assert training["quick"] is False


def test_it_was_trained_with_this_generator(training: dict[str, Any]) -> None:
    assert training["generator"] == VERSION
    assert len(training["script_sha256"]) == 64
    assert set(training["libraries"]) == {"numpy", "scipy", "scikit-learn"}


def test_its_figures_are_across_sources(training: dict[str, Any]) -> None:
    for channel in ("user", "external"):
        found = training["results"][channel]
        assert set(found["recall"]) == {f"{share:.0%}" for share in LINES}
        assert found["auroc_95"][0] <= found["auroc"] <= found["auroc_95"][1]
        assert found["auroc"] > 0.93
    assert len(training["results"]["user"]["disguised"]) == 14


def test_the_card_is_that_of_the_model() -> None:
    written = Path(__file__).parents[2] / "docs" / "reference" / "injection-model.md"
    assert written.read_text(encoding="utf-8") == card(load_engine(DATA / MODEL).model)
