"""Rules are data: TOML files compiled once into a table from system call to the steps that watch it.

Invariants: every rule sees every event, none hides another; a rule without two hitting and two harmless tests
does not load; a rule may need only facts and flags that the engine or the rule itself sets.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from guardhouse.analysis.risk.act import FIELDS, Act
from guardhouse.analysis.risk.conditions import Condition, RuleInvalidError, compile_conditions, expand
from guardhouse.analysis.risk.facts import FACTS
from guardhouse.analysis.risk.process import FLAGS, MAX_ITEMS
from guardhouse.analysis.risk.tree import Boundary

__all__ = ["Rule", "RuleInvalidError", "RuleSet", "Step", "compile_rule"]

RULES_VERSION: Final = "2026.1"
MAX_RULES: Final = 200
MAX_WEIGHT: Final = 3.0
MINUTE: Final = 60
HALF_LIFE_S: Final = {
    "recon": 10 * MINUTE,
    "shell": 30 * MINUTE,
    "injection": 30 * MINUTE,
    "escape": 30 * MINUTE,
    "credentials": 30 * MINUTE,
    "evasion": 30 * MINUTE,
    "impact": 30 * MINUTE,
    "persistence": 60 * MINUTE,
    "fileless": 60 * MINUTE,
    "module": 60 * MINUTE,
}
CALL_GROUPS: Final = {
    "@exec": ["execve", "execveat"],
    "@open": ["open", "openat", "openat2", "creat"],
    "@rename": ["rename", "renameat", "renameat2"],
    "@unlink": ["unlink", "unlinkat"],
    "@chmod": ["chmod", "fchmod", "fchmodat", "fchmodat2"],
    "@dup": ["dup", "dup2", "dup3"],
    "@setuid": ["setuid", "setreuid", "setresuid", "setuid32", "setreuid32", "setresuid32"],
}
_STEP_WORDS: Final = frozenset(
    {"calls", "where", "unless", "need_flag", "set_flag", "need_fact", "set_fact", "failed", "item"}
)
_RULE_WORDS: Final = frozenset({
    "id", "version", "title", "attack", "family", "weight", "half_life_s", "scope", "within_s", "order",
    "step", "count", "distinct", "full_at", "scale", "except", "why", "test", "shadow", "note",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One watched act: which calls, under which conditions, and what it leaves behind."""

    calls: tuple[str, ...]
    on_path: tuple[Condition, ...]
    others: tuple[Condition, ...]
    unless: tuple[tuple[Condition, ...], ...]
    need_flag: int
    set_flag: int
    need_fact: int
    set_fact: int
    failed: str  # allow | only | no
    item: Callable[[Act], str] | None

    @property
    def writes_only(self) -> bool:
        """Whether an open for reading can never pass."""
        return any(c.field == "access" and not c.passes("r") for c in self.others)

    def holds(self, act: Act) -> bool:
        """Every condition but those on the path alone, which the table has already decided."""
        failed = act.event.failed
        if (failed and self.failed == "no") or (not failed and self.failed == "only"):
            return False
        for condition in self.others:
            if not condition.holds(act):
                return False
        return not any(all(condition.holds(act) for condition in table) for table in self.unless)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. `weight` is micro-nats, `within_us` 0 for no limit."""

    id: str
    version: int
    title: str
    attack: tuple[str, ...]
    weight: int
    half_life_s: int
    scope: str  # process | parent | tree
    within_us: int
    in_order: bool
    steps: tuple[Step, ...]
    count: int  # hits from this many on, 0 when every completed match is one
    again: int  # and again each so many, 0 for once per window
    distinct: int  # distinct items needed, 0 when items do not matter
    full_at: int  # items at which the weight is whole, 0 for always
    scales: tuple[tuple[tuple[Condition, ...], int], ...]
    excepts: tuple[tuple[Condition, ...], ...]
    why: Callable[[Act, Mapping[str, str]], str]
    shadow: bool
    tests: tuple[dict[str, Any], ...] = field(compare=False)

    @property
    def evidence_id(self) -> str:
        """The id of its evidence."""
        return f"rule.{self.id}"


class RuleSet:
    """Rules compiled for matching: call name to the steps that watch it."""

    def __init__(self, rules: tuple[Rule, ...], lists: Mapping[str, list[str]], version: str) -> None:
        if len({rule.id for rule in rules}) != len(rules):
            raise RuleInvalidError("two rules have the same id")
        if len(rules) > MAX_RULES:
            raise RuleInvalidError(f"more than {MAX_RULES} rules")
        self.rules = tuple(sorted(rules, key=lambda rule: rule.id))
        self.lists = lists
        self.version = version
        self.boundary = Boundary(lists.get("boundary", []))
        self.containers = Boundary(lists.get("container_shims", []))
        self.by_call: dict[str, list[tuple[Rule, int, Step]]] = {}
        for rule in self.rules:
            for index, step in enumerate(rule.steps):
                for call in step.calls:
                    self.by_call.setdefault(call, []).append((rule, index, step))

    @classmethod
    def builtin(cls) -> "RuleSet":
        """The rules that ship with the product, loaded once."""
        return _builtin()

    def only(self, *ids: str) -> "RuleSet":
        """A set with these rules alone, same lists."""
        kept = tuple(rule for rule in self.rules if rule.id in ids)
        return RuleSet(kept, self.lists, f"{self.version}:{','.join(sorted(ids))}")


@cache
def _builtin() -> RuleSet:
    folder = files("guardhouse.analysis.risk") / "data" / "rules"
    sources = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".toml")}
    lists = tomllib.loads(sources.pop("lists.toml").decode())
    digest = hashlib.sha256()
    rules = []
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
        rules.append(compile_rule(tomllib.loads(sources[name].decode()), lists))
        if name != f"{rules[-1].id}.toml":
            raise RuleInvalidError(f"{name}: the file holds rule {rules[-1].id!r}")
    return RuleSet(tuple(rules), lists, f"{RULES_VERSION}+{digest.hexdigest()[:8]}")


def compile_rule(source: Mapping[str, Any], lists: Mapping[str, list[str]]) -> Rule:
    """Compile one rule from its TOML (or JSON) form.

    Raises:
        RuleInvalidError: with the rule's id, the place, and what is wrong.
    """
    name = source.get("id")
    if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.islower():
        raise RuleInvalidError(f"rule id {name!r}: lower-case letters, digits and _")
    unknown = sorted(set(source) - _RULE_WORDS)
    if unknown:
        raise RuleInvalidError(f"{name}: unknown word {unknown[0]!r}")
    weight = source.get("weight")
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight <= MAX_WEIGHT:
        raise RuleInvalidError(f"{name}: weight must be over 0 and at most {MAX_WEIGHT:g}")
    family = source.get("family")
    if family not in HALF_LIFE_S:
        raise RuleInvalidError(f"{name}: unknown family {family!r}")
    scope = source.get("scope", "process")
    order = source.get("order", "sequence")
    if scope not in ("process", "parent", "tree") or order not in ("sequence", "any"):
        raise RuleInvalidError(f"{name}: scope is process, parent or tree; order is sequence or any")
    steps = tuple(_step(raw, f"{name}.step[{n}]", lists) for n, raw in enumerate(source.get("step", [])))
    if not steps:
        raise RuleInvalidError(f"{name}: no step")
    _check_own_words(name, steps)
    count = source.get("count", {})
    distinct = source.get("distinct", 0)
    full_at = source.get("full_at", 0)
    if full_at > MAX_ITEMS or (distinct and any(step.item is None for step in steps)):
        raise RuleInvalidError(f"{name}: full_at is at most {MAX_ITEMS}; distinct needs an item in each step")
    tests = tuple(source.get("test", []))
    _check_tests(name, tests)
    return Rule(
        id=name,
        version=int(source.get("version", 1)),
        title=str(source.get("title", name)),
        attack=tuple(source.get("attack", [])),
        weight=round(weight * 1_000_000),
        half_life_s=int(source.get("half_life_s", HALF_LIFE_S[family])),
        scope=scope,
        within_us=int(source.get("within_s", 0)) * 1_000_000,
        in_order=order == "sequence" and len(steps) > 1,
        steps=steps,
        count=int(count.get("at_least", 0)),
        again=int(count.get("again", 0)),
        distinct=int(distinct),
        full_at=int(full_at),
        scales=tuple(
            (compile_conditions(raw["where"], f"{name}.scale", lists), round(raw["by"] * 1_000_000))
            for raw in source.get("scale", [])
        ),
        excepts=tuple(compile_conditions(raw, f"{name}.except", lists) for raw in source.get("except", [])),
        why=_template(str(source.get("why", source.get("title", name))), name),
        shadow=bool(source.get("shadow", False)),
        tests=tests,
    )


def _step(raw: Mapping[str, Any], where: str, lists: Mapping[str, list[str]]) -> Step:
    unknown = sorted(set(raw) - _STEP_WORDS)
    if unknown:
        raise RuleInvalidError(f"{where}: unknown word {unknown[0]!r}")
    calls = expand(raw.get("calls", []), f"{where}.calls", {**lists, **_GROUPS})
    if not calls or not all(isinstance(call, str) for call in calls):
        raise RuleInvalidError(f"{where}: calls must name system calls")
    failed = raw.get("failed", "no")
    if failed not in ("allow", "only", "no"):
        raise RuleInvalidError(f"{where}: failed is allow, only or no")
    conditions = compile_conditions(raw.get("where", {}), f"{where}.where", lists)
    # An exec's path may come from its program's name, so there the path is judged like any other field.
    indexed = not any(call in CALL_GROUPS["@exec"] for call in calls)
    unless = raw.get("unless", [])
    item = raw.get("item")
    return Step(
        calls=tuple(dict.fromkeys(calls)),
        on_path=tuple(c for c in conditions if indexed and c.on_path),
        others=tuple(c for c in conditions if not (indexed and c.on_path)),
        unless=tuple(compile_conditions(table, f"{where}.unless", lists) for table in unless),
        need_flag=_bit(raw, "need_flag", FLAGS, where),
        set_flag=_bit(raw, "set_flag", FLAGS, where),
        need_fact=_bit(raw, "need_fact", FACTS, where),
        set_fact=_bit(raw, "set_fact", FACTS, where),
        failed=failed,
        item=None if item is None else _plain_template(str(item), where),
    )


_GROUPS: Final = {name[1:]: calls for name, calls in CALL_GROUPS.items()}


def _bit(raw: Mapping[str, Any], word: str, known: Mapping[str, int], where: str) -> int:
    name = raw.get(word)
    if name is None:
        return 0
    if name not in known:
        raise RuleInvalidError(f"{where}.{word}: unknown {name!r}")
    return known[name]


# Flags that only a rule's own step sets: a rule that needs one must set it, or rules would depend on rules.
RULE_FLAGS: Final = FLAGS["archived"] | FLAGS["decoded"] | FLAGS["attached"]


def _check_own_words(name: str, steps: tuple[Step, ...]) -> None:
    needed = set_here = 0
    for step in steps:
        needed |= step.need_flag & RULE_FLAGS
        set_here |= step.set_flag
    if needed & ~set_here:
        raise RuleInvalidError(f"{name}: needs a flag that only another rule could set")


def _check_tests(name: str, tests: tuple[dict[str, Any], ...]) -> None:
    hitting = sum(1 for test in tests if test.get("hits") is True)
    harmless = sum(1 for test in tests if test.get("hits") is False)
    if hitting < 2 or harmless < 2:  # noqa: PLR2004 - two of each is the rule
        raise RuleInvalidError(
            f"{name}: needs two hitting and two harmless tests, has {hitting} and {harmless}"
        )
    if any(not test.get("events") for test in tests):
        raise RuleInvalidError(f"{name}: a test without events")


def _split(text: str, where: str, extra: frozenset[str]) -> list[tuple[str, str]]:
    """`a {b} c` as [("a ", "b"), (" c", "")]; only names of fields are filled in, nothing is evaluated."""
    parts = []
    for piece in text.split("{")[1:] if "{" in text else []:
        word, closed, rest = piece.partition("}")
        if not closed or (word not in FIELDS and word not in extra):
            raise RuleInvalidError(f"{where}: unknown field {word!r} in a text")
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
