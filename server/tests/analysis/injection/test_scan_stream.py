import base64
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from guardhouse.analysis.injection import prompt_echo
from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.prompt_echo import Protected
from guardhouse.analysis.injection.scan_output import Watched
from guardhouse.analysis.injection.scan_stream import CONTEXT, MOST_HELD, Held, step
from server.tests.analysis.injection.answers import PHRASE, PROMPT, TOKEN, leaky_answer

KEY = b"k"
WATCHED = Watched(
    lambda _: True, sources=(PHRASE,), protected=(Protected(KEY, prompt_echo.shingles(PROMPT, KEY)),)
)
LONGEST_TOLD_IN_TIME = MOST_HELD - CONTEXT // 2
Told = dict[tuple[str, str, int], int]


def newest(leaks: Iterable[Leak]) -> Told:
    """Return what is known after these: one with the same kind, detector and start takes the place of another."""
    return {(leak.kind, leak.detector, leak.start): leak.end for leak in leaks}


def whole(text: str) -> Told:
    return newest(step(Held(), text, WATCHED, final=True).leaks)


def streamed(text: str, cuts: Sequence[int]) -> Told:
    """Scan a text cut at places; what was shown before it was told is a failure."""
    held, told = Held(), list[Leak]()
    pieces = list(pairwise([0, *cuts, len(text)]))
    for number, (start, end) in enumerate(pieces, 1):
        shown = held.settled
        done = step(held, text[start:end], WATCHED, final=number == len(pieces))
        for leak in done.leaks:
            if leak.end - leak.start <= LONGEST_TOLD_IN_TIME:
                assert leak.start >= shown, leak
        assert text[shown : done.held.settled] == done.settled
        assert end - done.held.settled <= MOST_HELD
        held, told = done.held, told + list(done.leaks)
        assert len(held.text) <= MOST_HELD + CONTEXT + 4
    assert held.settled == len(text)
    return newest(told)


def cuts_of(chance: random.Random, text: str) -> list[int]:
    count = chance.choice([1, 1, 2, 5, 20, len(text) // 3])
    return sorted(chance.randint(0, len(text)) for _ in range(count))


@pytest.mark.parametrize("seed", range(30))
def test_however_an_answer_is_cut_the_same_is_found(seed: int) -> None:
    chance = random.Random(seed)
    text = leaky_answer(chance)
    expected = whole(text)
    for _ in range(6):
        cuts = cuts_of(chance, text)
        assert streamed(text, cuts) == expected, (text, cuts)


def test_every_cut_in_two_finds_the_same() -> None:
    text = leaky_answer(random.Random(7))[:400]
    expected = whole(text)
    for cut in range(len(text) + 1):
        assert streamed(text, [cut]) == expected, cut


def test_character_by_character_finds_the_same() -> None:
    text = leaky_answer(random.Random(5))[:500]
    assert streamed(text, range(1, len(text))) == whole(text)


@pytest.mark.parametrize("before", [0, 300, 900])
def test_a_mark_deep_inside_a_long_payload_is_found(before: int) -> None:
    plain = "some words before it " * (before // 21) + TOKEN + " and some words after it" * 60
    text = "Here you are: " + base64.b64encode(plain.encode()).decode()
    for size in (50, 333):
        told = streamed(text, range(size, len(text), size))
        assert [kind for kind, _, _ in told] == ["canary"]


def test_little_is_held_back_where_nothing_begins() -> None:
    watched = Watched(lambda _: True)
    done = step(Held(), "The weather is nice in the old town today. " * 20, watched, final=False)
    assert len(done.held.text) - CONTEXT < 80
