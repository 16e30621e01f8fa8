"""The rules in force, as a table from system call to the steps that watch it: the product's own, and a tenant's.

Invariants: every rule sees every event, none hides another; a rule that is switched off or in shadow is still
matched, so that what it would have added can be told; the same content has the same version.
"""

import hashlib
import json
import tomllib
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from guardhouse.analysis.risk.compile_rule import compile_rule
from guardhouse.analysis.risk.conditions import RuleInvalidError
from guardhouse.analysis.risk.rule import CALL_GROUPS, HALF_LIFE_S, MAX_WEIGHT, Rule, Step
from guardhouse.analysis.risk.tree import Boundary

__all__ = [
    "CALL_GROUPS",
    "HALF_LIFE_S",
    "MAX_RULES",
    "MAX_WEIGHT",
    "Rule",
    "RuleInvalidError",
    "RuleSet",
    "Step",
    "compile_rule",
]

RULES_VERSION: Final = "2026.1"
MAX_RULES: Final = 200


class RuleSet:
    """Rules compiled for matching: call name to the steps that watch it."""

    def __init__(self, rules: Iterable[Rule], lists: Mapping[str, list[str]], version: str) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.id))
        self.by_id = {rule.id: rule for rule in self.rules}
        if len(self.by_id) != len(self.rules):
            raise RuleInvalidError("/id", "two rules have the same id")
        if len(self.rules) > MAX_RULES:
            raise RuleInvalidError("", f"more than {MAX_RULES} rules")
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
        kept = (rule for rule in self.rules if rule.id in ids)
        return RuleSet(kept, self.lists, f"{self.version}:{','.join(sorted(ids))}")

    def pack(self) -> bytes:
        """The sources of all rules and lists, to be read again by `unpack` in another version of the product."""
        fields = {
            "version": self.version,
            "lists": self.lists,
            "rules": [rule.source for rule in self.rules],
        }
        return zlib.compress(json.dumps(fields, separators=(",", ":"), sort_keys=True).encode("ascii"), 9)

    @classmethod
    def unpack(cls, packed: bytes) -> "RuleSet":
        """The set that `pack` wrote.

        Raises:
            RuleInvalidError: this version of the product does not read such rules any more.
        """
        fields: dict[str, Any] = json.loads(zlib.decompress(packed))
        lists = fields["lists"]
        return cls((compile_rule(raw, lists) for raw in fields["rules"]), lists, fields["version"])


@cache
def _builtin() -> RuleSet:
    folder = files("guardhouse.analysis.risk") / "data" / "rules"
    sources = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".toml")}
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    lists = tomllib.loads(sources.pop("lists.toml").decode())
    rules = []
    for name in sorted(sources):
        try:
            rules.append(compile_rule(tomllib.loads(sources[name].decode()), lists))
        except RuleInvalidError as error:
            raise error.of(name) from None
        if name != f"{rules[-1].id}.toml":
            raise RuleInvalidError(name, f"the file holds rule {rules[-1].id!r}")
    return RuleSet(rules, lists, f"{RULES_VERSION}+{digest.hexdigest()[:8]}")
