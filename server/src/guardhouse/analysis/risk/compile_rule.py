"""Compile a rule from its TOML or JSON form.

Invariants: no code and no regular expressions; every number and list is bounded, so a rule costs a bounded
time per event; a rule without two hitting and two harmless tests does not load.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from guardhouse.analysis.risk.act import FIELDS, Act
from guardhouse.analysis.risk.conditions import (
    Condition,
    RuleInvalidError,
    below,
    compile_conditions,
    expand,
)
from guardhouse.analysis.risk.facts import FACTS
from guardhouse.analysis.risk.process import FLAGS, MAX_ITEMS
from guardhouse.analysis.risk.rule import BUILTIN, CALL_GROUPS, HALF_LIFE_S, MAX_WEIGHT, Rule, Step
from guardhouse.analysis.risk.short_events import check_events

MAX_STEPS: Final = 32
MAX_TABLES: Final = 64  # of `unless`, `except`, `scale`
MAX_TESTS: Final = 32
MAX_ATTACK: Final = 16
MAX_TEXT: Final = 300
DAY_S: Final = 86_400
NO_WEIGHT: Final = "weight 0: counted, not added"
# Flags that only a rule's own step sets: a rule that needs one must set it, or rules would depend on rules.
RULE_FLAGS: Final = FLAGS["attached"]
_ID: Final = re.compile(r"[a-z][a-z0-9_]{1,63}")
_TECHNIQUE: Final = re.compile(r"T\d{4}(\.\d{3})?")
_STEP_WORDS: Final = frozenset(
    {"calls", "where", "unless", "need_flag", "set_flag", "need_fact", "set_fact", "failed", "item"}
)
_RULE_WORDS: Final = frozenset({
    "id", "version", "title", "attack", "family", "weight", "half_life_s", "scope", "within_s", "order",
    "step", "count", "distinct", "full_at", "scale", "except", "why", "test", "note",
})  # fmt: skip
_GROUPS: Final = {name[1:]: calls for name, calls in CALL_GROUPS.items()}
Lists = Mapping[str, list[str]]


def compile_rule(source: Mapping[str, Any], lists: Lists, *, origin: str = BUILTIN) -> Rule:
    """Compile one rule from its TOML (or JSON) form.

    Raises:
        RuleInvalidError: with the place in the rule, and what is wrong there.
    """
    name = source.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise RuleInvalidError("/id", "an id is lower-case letters, digits and _, at most 64")
    _check_words(source, _RULE_WORDS, "")
    family = _one_of(source, "family", tuple(HALF_LIFE_S), None)
    steps = tuple(
        _step(raw, below("", "step", n), lists) for n, raw in enumerate(_tables(source, "step", MAX_STEPS))
    )
    if not steps:
        raise RuleInvalidError("/step", "no step")
    _check_own_words(steps)
    version = _whole(source, "version", 1, 1, 1 << 31)
    weight = _weight(source.get("weight"), "/weight")
    order = _one_of(source, "order", ("sequence", "any"), "sequence")
    distinct = _whole(source, "distinct", 0, 0, 256)
    if distinct and any(step.item is None for step in steps):
        raise RuleInvalidError("/distinct", "distinct needs an item in each step")
    count = source.get("count", {})
    _check_words(count, frozenset({"at_least", "again"}), "/count")
    title = _text(source, "title", name)
    _check_tests(source)
    return Rule(
        id=name,
        version=version,
        title=title,
        attack=_attack(source.get("attack", [])),
        family=family,
        weight=weight,
        half_life_s=_whole(source, "half_life_s", HALF_LIFE_S[family], 60, DAY_S),
        scope=_one_of(source, "scope", ("process", "parent", "tree"), "process"),
        within_us=_whole(source, "within_s", 0, 0, DAY_S) * 1_000_000,
        in_order=order == "sequence" and len(steps) > 1,
        steps=steps,
        count=_whole(count, "at_least", 0, 0, 1_000_000, "/count"),
        again=_whole(count, "again", 0, 0, 1_000_000, "/count"),
        distinct=distinct,
        full_at=_whole(source, "full_at", 0, 0, MAX_ITEMS),
        scales=tuple(_scale(raw, n, lists) for n, raw in enumerate(_tables(source, "scale", MAX_TABLES))),
        excepts=compile_excepts(source.get("except", []), "/except", lists),
        why=_template(_text(source, "why", title), "/why"),
        muted="" if weight else NO_WEIGHT,
        tally=name if version == 1 else f"{name}:{version}",
        source=source,
        origin=origin,
    )  # fmt: skip


def compile_excepts(tables: object, where: str, lists: Lists) -> tuple[tuple[Condition, ...], ...]:
    """Compile a list of exceptions; one of them holding takes a hit away.

    Raises:
        RuleInvalidError: not a list of tables, an empty one among them, or see `compile_conditions`.
    """
    if not isinstance(tables, list) or len(tables) > MAX_TABLES:
        raise RuleInvalidError(where, f"expected at most {MAX_TABLES} tables of fields")
    out = tuple(compile_conditions(raw, below(where, n), lists) for n, raw in enumerate(tables))
    if not all(out):
        raise RuleInvalidError(where, "an exception without conditions would except everything")
    return out


def _scale(raw: dict[str, Any], number: int, lists: Lists) -> tuple[tuple[Condition, ...], int]:
    where = below("", "scale", number)
    _check_words(raw, frozenset({"where", "by"}), where)
    return compile_conditions(raw.get("where"), below(where, "where"), lists), _weight(
        raw.get("by"), below(where, "by")
    )


def _step(raw: object, where: str, lists: Lists) -> Step:
    _check_words(raw, _STEP_WORDS, where)
    assert isinstance(raw, dict)  # noqa: S101 - checked just above
    calls = expand(raw.get("calls", []), below(where, "calls"), {**lists, **_GROUPS})
    if not isinstance(calls, list) or not calls or not all(isinstance(call, str) for call in calls):
        raise RuleInvalidError(below(where, "calls"), "calls must name system calls")
    failed = _one_of(raw, "failed", ("allow", "only", "no"), "no", where)
    conditions = compile_conditions(raw.get("where", {}), below(where, "where"), lists)
    # An exec's path may come from its program's name, so there the path is judged like any other field.
    indexed = not any(call in CALL_GROUPS["@exec"] for call in calls)
    unless = _tables(raw, "unless", MAX_TABLES, where)
    item = raw.get("item")
    return Step(
        calls=tuple(dict.fromkeys(calls)),
        on_path=tuple(c for c in conditions if indexed and c.on_path),
        others=tuple(c for c in conditions if not (indexed and c.on_path)),
        unless=tuple(
            compile_conditions(table, below(where, "unless", n), lists) for n, table in enumerate(unless)
        ),
        need_flag=_bit(raw, "need_flag", FLAGS, where),
        set_flag=_bit(raw, "set_flag", FLAGS, where),
        need_fact=_bit(raw, "need_fact", FACTS, where),
        set_fact=_bit(raw, "set_fact", FACTS, where),
        failed=failed,
        item=None if item is None else _plain_template(_text(raw, "item", "", where), below(where, "item")),
    )


def _bit(raw: Mapping[str, Any], word: str, known: Mapping[str, int], where: str) -> int:
    name = raw.get(word)
    if name is None:
        return 0
    if not isinstance(name, str) or name not in known:
        raise RuleInvalidError(below(where, word), f"unknown {name!r}")
    return known[name]


def _check_own_words(steps: tuple[Step, ...]) -> None:
    needed = set_here = 0
    for step in steps:
        needed |= step.need_flag & RULE_FLAGS
        set_here |= step.set_flag
    if needed & ~set_here:
        raise RuleInvalidError("/step", "needs a flag that only another rule could set")
    if any(step.set_flag & ~RULE_FLAGS for step in steps):
        raise RuleInvalidError("/step", "sets a flag that the engine itself keeps")


def _check_tests(source: Mapping[str, Any]) -> None:
    tests = _tables(source, "test", MAX_TESTS)
    hitting = sum(1 for test in tests if test.get("hits") is True)
    harmless = sum(1 for test in tests if test.get("hits") is False)
    if hitting < 2 or harmless < 2:  # noqa: PLR2004 - two of each is the rule
        raise RuleInvalidError(
            "/test", f"needs two hitting and two harmless tests, has {hitting} and {harmless}"
        )
    for number, test in enumerate(tests):
        _check_words(test, frozenset({"name", "hits", "events"}), below("", "test", number))
        check_events(test.get("events"), below("", "test", number, "events"))


def _check_words(table: object, known: frozenset[str], where: str) -> None:
    if not isinstance(table, dict):
        raise RuleInvalidError(where, "expected a table")
    unknown = sorted(set(table) - known)
    if unknown:
        raise RuleInvalidError(below(where, unknown[0]), f"unknown word {unknown[0]!r}")


def _tables(source: Mapping[str, Any], word: str, most: int, where: str = "") -> list[dict[str, Any]]:
    tables = source.get(word, [])
    if not isinstance(tables, list) or len(tables) > most or not all(isinstance(t, dict) for t in tables):
        raise RuleInvalidError(below(where, word), f"expected at most {most} tables")
    return tables


def _one_of(
    source: Mapping[str, Any], word: str, known: tuple[str, ...], default: str | None, where: str = ""
) -> str:
    value = source.get(word, default)
    if not isinstance(value, str) or value not in known:
        raise RuleInvalidError(below(where, word), f"unknown {word} {value!r}: {', '.join(known)}")
    return value


def _whole(source: Mapping[str, Any], word: str, default: int, low: int, high: int, where: str = "") -> int:
    value = source.get(word, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RuleInvalidError(below(where, word), f"{word} is an integer from {low} to {high}")
    return value


def _weight(value: object, where: str) -> int:
    """Return nats, or a factor, as millionths."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_WEIGHT:
        raise RuleInvalidError(where, f"weight must be from 0 to {MAX_WEIGHT:g}")
    return round(value * 1_000_000)


def _text(source: Mapping[str, Any], word: str, default: str, where: str = "") -> str:
    value = source.get(word, default)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise RuleInvalidError(below(where, word), f"{word} is a text of at most {MAX_TEXT} characters")
    return value


def _attack(techniques: object) -> tuple[str, ...]:
    if (
        not isinstance(techniques, list)
        or len(techniques) > MAX_ATTACK
        or not all(isinstance(one, str) and _TECHNIQUE.fullmatch(one) for one in techniques)
    ):
        raise RuleInvalidError("/attack", f"at most {MAX_ATTACK} technique ids such as T1059.004")
    return tuple(techniques)


def _split(text: str, where: str, extra: frozenset[str]) -> list[tuple[str, str]]:
    """`a {b} c` as [("a ", "b"), (" c", "")]; only names of fields are filled in, nothing is evaluated."""
    parts = []
    for piece in text.split("{")[1:] if "{" in text else []:
        word, closed, rest = piece.partition("}")
        if not closed or (word not in FIELDS and word not in extra):
            raise RuleInvalidError(where, f"unknown field {word!r} in a text")
        parts.append((word, rest))
    return parts


def _template(text: str, where: str) -> Callable[[Act, Mapping[str, str]], str]:
    parts = _split(text, where, frozenset({"items", "count"}))
    head = text.partition("{")[0]

    def fill(act: Act, words: Mapping[str, str]) -> str:
        out = head
        for word, rest in parts:
            out += (words[word] if word in words else act.text(word)) + rest
        return out

    return fill


def _plain_template(text: str, where: str) -> Callable[[Act], str]:
    fill = _template(text, where)
    return lambda act: fill(act, {"items": "?", "count": "?"})
