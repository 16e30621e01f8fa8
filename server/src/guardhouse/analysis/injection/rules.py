"""Rules as data: sequences of word sets, literals and built-in shapes, matched in linear time.

A sequence is matched over the list of tokens by the positions each step can stand at; there is no backtracking to
run into. Rule packs of tenants go through the same reader, which refuses anything else (so no regular expressions).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from guardhouse.analysis.injection.lowered import lowered
from guardhouse.analysis.injection.shapes import SHAPES

CATEGORIES: Final = (
    "jailbreak",
    "system_prompt_leak",
    "injection",
    "data_extraction",
    "encoding_attack",
    "delimiter_attack",
)
KINDS: Final = ("sequence", "literal", "shape")
MOST_POINTS: Final = 4_000  # logit milli per view, over all rules
WIDEST_GAP: Final = 30
FIRST_LETTERS: Final = 3
_TOKEN: Final = re.compile(r"[^\W_]+")


class BadRuleError(ValueError):
    """A rule cannot be used; says which and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``steps`` and ``gaps`` are for sequences, ``words`` for literals, ``shape`` for shapes."""

    id: str
    version: int
    category: str
    severity: int
    channels: frozenset[str]
    languages: tuple[str, ...]
    points_milli: int
    kind: str
    examples: tuple[str, ...]
    counterexamples: tuple[str, ...]
    steps: tuple[frozenset[str], ...] = ()
    gaps: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    shape: str = ""
    characters: bool = False  # a language without spaces: steps are substrings, gaps count code points

    @property
    def name(self) -> str:
        """What an answer calls the rule: ``PI-001@3``."""
        return f"{self.id}@{self.version}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that matched ``[start, end)`` of a reading."""

    rule: Rule
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Compiled rules with the indexes that matching starts from."""

    rules: tuple[Rule, ...]
    index: Mapping[str, "Entry"] = field(repr=False)  # by the first three letters of a word
    plain: tuple[int, ...]  # literals and shapes
    substrings: tuple[int, ...]  # sequences in languages without spaces


@dataclass(frozen=True, slots=True)
class Entry:
    """The (rule, step) pairs of words with the same first letters: whole words, and stems that begin a word."""

    words: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    stems: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def read_rule(said: Mapping[str, Any]) -> Rule:
    """Read one rule.

    Raises:
        BadRuleError: A member is missing, of the wrong kind or out of range.
    """
    try:
        rule = Rule(
            id=said["id"],
            version=said.get("version", 1),
            category=said["category"],
            severity=said.get("severity", 2),
            channels=frozenset(said.get("channels", ("user", "external"))),
            languages=tuple(said.get("languages", ("en",))),
            points_milli=said.get("points_milli", 2_000),
            kind=said["kind"],
            examples=tuple(said.get("examples", ())),
            counterexamples=tuple(said.get("counterexamples", ())),
            steps=tuple(frozenset(lowered(word) for word in step) for step in said.get("steps", ())),
            gaps=tuple(said.get("gaps", ())),
            words=tuple(lowered(word) for word in said.get("words", ())),
            shape=said.get("shape", ""),
            characters=said.get("characters", False),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRuleError(f"rule {said.get('id', '?')}: {error} is missing or has the wrong type") from None
    if fault := _fault(rule):
        raise BadRuleError(f"rule {rule.id}: {fault}")
    return rule


def _fault(rule: Rule) -> str | None:
    faults = (
        (rule.kind not in KINDS, f"kind {rule.kind!r} is none of {', '.join(KINDS)}"),
        (rule.category not in CATEGORIES, f"category {rule.category!r} is none of {', '.join(CATEGORIES)}"),
        (not 0 < rule.points_milli <= MOST_POINTS, f"points_milli must be 1..{MOST_POINTS}"),
        (rule.kind == "sequence" and not rule.steps, "a sequence needs steps"),
        (
            rule.kind == "sequence" and len(rule.gaps) != len(rule.steps) - 1,
            "a sequence needs one gap between two steps",
        ),
        (any(not 0 <= gap <= WIDEST_GAP for gap in rule.gaps), f"a gap must be 0..{WIDEST_GAP}"),
        (
            any(
                not step or any(len(word.rstrip("*")) < _shortest(word) for word in step)
                for step in rule.steps
            ),
            f"a step needs words, and a stem at least {FIRST_LETTERS} letters",
        ),
        (rule.kind == "literal" and (not rule.words or "" in rule.words), "a literal needs words"),
        (rule.kind == "shape" and rule.shape not in SHAPES, f"shape must be one of {', '.join(SHAPES)}"),
    )
    return next((sentence for wrong, sentence in faults if wrong), None)


def _shortest(word: str) -> int:
    return FIRST_LETTERS if word.endswith("*") else 1


def compile_pack(said: Iterable[Mapping[str, Any]]) -> Pack:
    """Read rules and index them; ``contradictions`` tries their examples.

    Raises:
        BadRuleError: A rule is bad, or an id appears twice.
    """
    rules = tuple(read_rule(rule) for rule in said)
    index: dict[str, Entry] = defaultdict(Entry)
    for number, rule in enumerate(rules):
        for step, words in enumerate(() if rule.characters else rule.steps):
            for word in words:
                entry = index[word.rstrip("*")[:FIRST_LETTERS]]
                places = entry.stems if word.endswith("*") else entry.words
                places.setdefault(word.rstrip("*"), []).append((number, step))
    if len({rule.id for rule in rules}) != len(rules):
        raise BadRuleError("two rules have one id")
    return Pack(
        rules,
        dict(index),
        tuple(n for n, rule in enumerate(rules) if rule.kind != "sequence"),
        tuple(n for n, rule in enumerate(rules) if rule.characters),
    )


def contradictions(pack: Pack) -> list[str]:
    """Return a sentence for each example that its rule does not match and each counterexample that it does."""
    wrong: list[str] = []
    for rule in pack.rules:
        channel = min(rule.channels)
        for text, expected in [(e, True) for e in rule.examples] + [(c, False) for c in rule.counterexamples]:
            if any(hit.rule.id == rule.id for hit in match(pack, text, channel)) is not expected:
                wrong.append(f"rule {rule.id} {'misses' if expected else 'matches'} {text!r}")
    return wrong


def match(pack: Pack, text: str, channel: str, off: frozenset[str] = frozenset()) -> list[Hit]:
    """Return the first hit of every rule that matches a normalised reading, in the order of the pack."""
    lower = lowered(text)
    tokens = _TOKEN.findall(lower)
    live = {token: pairs for token in set(tokens) if (pairs := _pairs(pack.index, token))}
    places: dict[int, dict[int, list[int]]] = {}
    for position, token in enumerate(tokens if live else ()):
        for number, step in live.get(token, ()):
            places.setdefault(number, {}).setdefault(step, []).append(position)
    found = [
        (number, span)
        for number, by_step in places.items()
        if (span := _sequence(pack.rules[number], lower, by_step)) is not None
    ]
    found += [
        (number, span)
        for number in (pack.plain if lower.isascii() else (*pack.plain, *pack.substrings))
        if (span := _elsewhere(pack.rules[number], lower)) is not None
    ]
    return [
        Hit(rule, *span)
        for number, span in sorted(found)
        if channel in (rule := pack.rules[number]).channels and rule.id not in off
    ]


def _pairs(index: Mapping[str, Entry], token: str) -> list[tuple[int, int]]:
    """Return the (rule, step) pairs that a token can stand for."""
    entry = index.get(token[:FIRST_LETTERS])
    if entry is None:
        return []
    found = set(entry.words.get(token, ()))
    for stem, pairs in entry.stems.items():
        if token.startswith(stem):
            found.update(pairs)
    return sorted(found)


def _sequence(rule: Rule, lower: str, places: Mapping[int, list[int]]) -> tuple[int, int] | None:
    if len(places) != len(rule.steps):
        return None
    chain = _chain([places[step] for step in range(len(rule.steps))], rule.gaps)
    if chain is None:
        return None
    tokens = list(islice(_TOKEN.finditer(lower), chain[1] + 1))
    return tokens[chain[0]].start(), tokens[chain[1]].end()


def _elsewhere(rule: Rule, lower: str) -> tuple[int, int] | None:
    if rule.kind == "literal":
        return min(
            ((at, at + len(word)) for word in rule.words if (at := lower.find(word)) >= 0), default=None
        )
    return SHAPES[rule.shape](lower) if rule.kind == "shape" else _found_in_characters(rule, lower)


def _chain(places: Sequence[Sequence[int]], gaps: Sequence[int]) -> tuple[int, int] | None:
    """Return first and last position of the earliest-ending chain of steps, each within its gap of the one before."""
    reached = [(place, place) for place in places[0]]  # (position, where its chain began), rising
    for here, gap in zip(places[1:], gaps, strict=True):
        nearest = 0
        following: list[tuple[int, int]] = []
        for place in here:
            while nearest + 1 < len(reached) and reached[nearest + 1][0] < place:
                nearest += 1
            if nearest < len(reached) and 0 < place - reached[nearest][0] <= gap + 1:
                following.append((place, reached[nearest][1]))
        reached = following
    return (reached[0][1], reached[0][0]) if reached else None


def _found_in_characters(rule: Rule, lower: str) -> tuple[int, int] | None:
    occurrences = [sorted(_all(lower, step)) for step in rule.steps]
    if not all(occurrences):
        return None
    reached = [(end, start) for start, end in occurrences[0]]
    for here, gap in zip(occurrences[1:], rule.gaps, strict=True):
        following: list[tuple[int, int]] = []
        nearest = 0
        for start, end in here:
            while nearest + 1 < len(reached) and reached[nearest + 1][0] <= start:
                nearest += 1
            if nearest < len(reached) and 0 <= start - reached[nearest][0] <= gap:
                following.append((end, reached[nearest][1]))
        reached = sorted(following)
    return (reached[0][1], reached[0][0]) if reached else None


def _all(text: str, words: Iterable[str]) -> Iterable[tuple[int, int]]:
    for word in words:
        place = text.find(word)
        while place >= 0:
            yield place, place + len(word)
            place = text.find(word, place + len(word))
