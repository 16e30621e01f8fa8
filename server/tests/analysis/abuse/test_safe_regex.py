"""Patterns that can be made to run for ever are told from those that cannot."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.abuse.safe_regex import MAX_LENGTH, why_unsafe


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$", "(a*)*", "(?:a+)*b", "(a|a)*$", "(a|ab|b)*c", "(?:a?)+", "(a{1,2})+$", "(.*)*", r"(\w+\s?)+$",
        r".*.*x", r"\s*\s*x", r"\w*[a-z]*x", r"(a)(?:\1)+", "((a|b+))+", "(?=(a+)+b)", "(?:|a)+",
        "(", "[z-a]", "(?P<n>a)(?P<n>b)", "a" * (MAX_LENGTH + 1), "(?:xa|x|a)*$",
    ],
)  # fmt: skip
def test_what_can_run_for_ever_or_does_not_compile_is_refused(pattern: str) -> None:
    assert why_unsafe(pattern) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        "sqlmap", "curl/[0-9.]+", r"(?i)union\s+select", r"etc/(?:passwd|shadow)", r"^Mozilla/\d+\.\d+ \(.*\)$",
        "(?:ab|cd)+", r"<script[^>]*>", r"\d{1,3}(?:\.\d{1,3}){3}", "a*b*", ".*", r"(?:\d|[0-9])+x", "",
        r"\bselect\b.{0,50}\bfrom\b",
    ],
)  # fmt: skip
def test_what_is_harmless_passes(pattern: str) -> None:
    assert why_unsafe(pattern) is None


@given(st.text(alphabet=r"ab|*+?(){}[]^$.\d1,-:=!<P>", max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_text_is_judged(pattern: str) -> None:
    assert why_unsafe(pattern) is None or isinstance(why_unsafe(pattern), str)
