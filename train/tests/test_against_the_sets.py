"""Checks that need the development data; without them they say so."""

import os
from collections import Counter as Tally
from collections import defaultdict
from pathlib import Path

import pytest

from train.generator.generate import Counts, generate
from train.near_duplicates import CONTAINMENT, shingles
from train.read_sets import IN_THE_WILD, Sets, read_sets

NAMED = "GUARDHOUSE_SHARED_DATA"
PLACES = [Path(os.environ[NAMED])] if NAMED in os.environ else [
    Path(__file__).parents[n] / "shared" / "data" for n in (3, 4)
]  # fmt: skip

_ENOUGH = 3  # shingles; a shorter text says what everybody says


@pytest.fixture(scope="module")
def sets() -> Sets:
    for place in PLACES:
        if (place / "prompt_injection").is_dir():
            return read_sets(place / "prompt_injection")
    pytest.skip("needs the development data beside the repository, or GUARDHOUSE_SHARED_DATA")


def test_the_sets_are_what_was_pinned(sets: Sets) -> None:
    assert sum(about["rows"] for about in sets.record.values()) == 17_456
    assert len({row.family for row in sets.rows}) == 11


def test_the_generator_says_nothing_that_a_set_says(sets: Sets) -> None:
    holders: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(sets.rows):
        for shingle in shingles(row.text):
            holders[shingle].append(number)
    copied = [
        row.text
        for row in generate("20261101", (), (), Counts().divided(4))
        if len(own := shingles(row.text)) >= _ENOUGH
        and max(Tally(n for s in own for n in holders.get(s, ())).values(), default=0)
        > CONTAINMENT * len(own)
    ]
    assert copied == []


def test_no_attack_of_one_family_is_a_near_duplicate_in_another(sets: Sets) -> None:
    wild = [
        found
        for row in sets.rows
        if row.family == IN_THE_WILD and len(found := shingles(row.text)) >= _ENOUGH
    ]
    others = [
        found
        for row in sets.rows
        if row.family == "aliakarma" and row.label and (found := shingles(row.text))
    ]
    assert not any(
        len(a & b) > CONTAINMENT * min(len(a), len(b)) for a in wild for b in others if len(b) >= _ENOUGH
    )
