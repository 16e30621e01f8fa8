"""The published vectors are what the shipped model makes of the texts, and training never sees those texts."""

from pathlib import Path

from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.model_file import DATA, MODEL
from train.generator.generate import Counts, generate
from train.write_golden import TEXTS, golden, written

VECTORS = Path(__file__).parents[2] / "contract" / "vectors" / "injection.json"


def test_the_vectors_are_those_of_the_shipped_model() -> None:
    assert VECTORS.read_text(encoding="utf-8") == written(golden(load_engine(DATA / MODEL)))


def test_the_generator_says_none_of_the_texts() -> None:
    said = TEXTS.read_text(encoding="utf-8").lower()
    made = [row.text.lower() for row in generate("20261101", (), (), Counts().divided(8))]
    assert not [text for text in made if len(text.split()) > 5 and text in said]
