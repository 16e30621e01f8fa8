"""Globs without regular expressions: the shell's meaning, bounded, and no pattern that takes more than its share."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.glob import MAX_PATTERN, MAX_STARS, compile_glob

UNITS = st.sampled_from(
    ["*", "?", "a", "b", "/", ".", "[ab]", "[!a]", "[a-c]", "[]a]", "[!]]", "[", "]", "!", "\n"]
)
PATTERNS = (
    st.lists(UNITS, max_size=9)
    .map("".join)
    .filter(lambda p: len(p.replace("**", "*").split("*")) <= MAX_STARS)
)
TEXTS = st.text(alphabet="abc/.[]!\n", max_size=12)


@given(PATTERNS, TEXTS)
def test_a_glob_means_what_it_means_to_the_shell(pattern: str, text: str) -> None:
    assert compile_glob(pattern)(text) is fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*/.ssh/id_*", "/home/u/.ssh/id_ed25519", True),
        ("*/.ssh/id_*", "/home/u/.ssh/known_hosts", False),
        ("*/.[!.]*/*", "/srv/../x", False),
        ("*/.[!.]*/*", "/srv/.x/y", True),
        ("/proc/*/mem", "/proc/self/mem", True),
        ("/proc/*/mem", "/proc/mem", False),
        ("ab*ba", "aba", False),
        ("", "", True),
        ("*", "", True),
        ("***", "x", True),
    ],
)
def test_globs_of_rules(pattern: str, text: str, fits: bool) -> None:  # noqa: FBT001 - a table
    assert compile_glob(pattern)(text) is fits


def test_globs_are_bounded() -> None:
    with pytest.raises(ValueError, match="stars"):
        compile_glob("a*" * (MAX_STARS + 1))
    with pytest.raises(ValueError, match="characters"):
        compile_glob("a" * (MAX_PATTERN + 1))
    compile_glob("a*" * MAX_STARS)


def test_a_pattern_made_to_be_slow_looks_at_each_character_a_bounded_number_of_times() -> None:
    """Counted by a text that counts, not by a clock."""
    looked = 0

    class Text(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            nonlocal looked
            looked += 1
            return super().__getitem__(key)  # type: ignore[index] # whatever the matcher asks for

    text = Text("a" * 4000)
    assert compile_glob("*a?a?a?a?b" * 3 + "*c")(text) is False
    assert looked <= len(text) * 60
