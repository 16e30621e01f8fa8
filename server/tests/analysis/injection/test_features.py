import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.injection.evidence import Places, character_places, segments, word_places
from guardhouse.analysis.injection.features import (
    BLOCK,
    BUCKETS,
    buckets,
)
from guardhouse.analysis.injection.head import Head, logits_milli, parts
from guardhouse.analysis.injection.lowered import lowered
from guardhouse.analysis.injection.windows import external_windows, user_windows
from server.tests.analysis.injection import plain_hashing
from server.tests.analysis.injection.plain_hashing import Found

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def head(seed: int = 7) -> Head:
    weights = np.random.default_rng(seed).integers(-32767, 32768, BUCKETS).astype(np.int16)
    return Head(weights, -0.5, 2e-4, 1e-4)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_the_fast_way_and_the_plain_way_find_the_same_buckets(text: str) -> None:
    lower = lowered(text)
    characters, words = plain_hashing.character_places(lower), plain_hashing.word_places(lower)
    assert set(buckets([text]).keys.tolist()) == set(characters) | set(words)
    assert by_bucket(character_places(lower)) == in_order(characters)
    assert by_bucket(word_places(lower)) == in_order(words)


def by_bucket(places: Places) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    rows = zip(places.buckets.tolist(), places.starts.tolist(), places.ends.tolist(), strict=True)
    for bucket, start, end in rows:
        found.setdefault(bucket, []).append((start, end))
    return in_order(found)


def in_order(found: Found) -> dict[int, list[tuple[int, int]]]:
    return {bucket: sorted(stretches) for bucket, stretches in found.items()}


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8))
def test_a_text_scores_the_same_alone_and_among_others(texts: list[str]) -> None:
    together = logits_milli(head(), buckets(texts)).tolist()
    assert together == [int(logits_milli(head(), buckets([text]))[0]) for text in texts]


def test_known_buckets() -> None:
    """Frozen values: another machine, another Python and another numpy must give these."""
    assert plain_hashing.character_bucket("ig") == 189972
    assert plain_hashing.word_bucket([1, 2, 3]) == 112254
    characters = [17926, 104176, 129345, 129635, 154846, 172004, 175343, 188845, 197009]
    words = [304122, 336743, 523265]
    assert buckets(["Ab c"]).keys.tolist() == characters + words


def test_presence_counts_and_not_how_often() -> None:
    assert buckets(["spam spam spam spam"]).keys.tolist() != buckets(["spam"]).keys.tolist()
    assert buckets(["a b a b a b"]).keys.tolist() == buckets(["a b a b a b a b"]).keys.tolist()


def test_parts_are_weights_over_the_root_of_how_many() -> None:
    one = head()
    keys = buckets(["ignore all"]).keys
    characters, words = keys[keys < BUCKETS // 2], keys[keys >= BUCKETS // 2]
    found = parts(one, buckets(["ignore all"]))
    assert found.characters[0] == one.scale_characters * (
        int(one.weights[characters].sum(dtype=np.int64)) / len(characters) ** 0.5
    )
    assert found.words[0] == one.scale_words * (
        int(one.weights[words].sum(dtype=np.int64)) / len(words) ** 0.5
    )


def test_an_empty_text_adds_nothing() -> None:
    assert logits_milli(head(), buckets(["", " \n"])).tolist() == [-500, -500]


def test_the_evidence_is_where_the_weights_are() -> None:
    weights = np.zeros(BUCKETS, np.int16)
    weights[[BUCKETS // 2 + b for b in _word_buckets("secret plan")]] = 30000
    found = segments(Head(weights, 0.0, 1e-3, 1e-3), "we like the secret plan of today")
    assert [(one.start, one.end) for one in found] == [(12, 23)]


def _word_buckets(text: str) -> list[int]:
    return [bucket - BLOCK for bucket in plain_hashing.word_places(text)]


@pytest.mark.parametrize("length", [0, 1, 1999, 2000, 2001, 5000])
def test_windows_of_prompts_cover_all_of_them(length: int) -> None:
    words = random.Random(length).choices(["alpha", "be", "gamma-ray", "x" * 30], k=length // 3 + 1)
    text = " ".join(words)[:length]
    windows = user_windows(text)
    assert windows[0] == (0, length)
    assert (len(windows) == 1) is (length <= 2000)
    covered = {n for start, end in windows[1:] for n in range(start, end)}
    assert len(windows) == 1 or covered == set(range(length))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["word", "x" * 900, ".", " ", "\n", "\\n", "|", '"', "{", "。", "a b c d e " * 12]),
        max_size=60,
    )
)
def test_windows_of_documents_leave_no_word_out(pieces: list[str]) -> None:
    text = "".join(pieces)
    windows = external_windows(text)
    covered = {n for start, end in windows for n in range(start, end)}
    left = {c for n, c in enumerate(text) if n not in covered and not c.isspace()}
    assert left <= set('|>\\n{["')
    assert all(text[start:end].strip() for start, end in windows)


def test_a_letter_that_grows_when_lowered_keeps_its_place() -> None:
    assert lowered("İx") == "ix"
