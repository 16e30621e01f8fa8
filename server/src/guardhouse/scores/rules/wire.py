"""Shapes of rules on the wire. A rule itself is written in the very words of the files that ship."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.analysis.risk.coverage import SOURCE, Coverage
from guardhouse.analysis.risk.rule import BUILTIN, HALF_LIFE_S, MAX_WEIGHT
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.scores.rules.change_rule import Change
from guardhouse.scores.rules.list_rules import ShownRule
from guardhouse.scores.rules.save_rule import SHADOW_DAYS, NewRule

State = Literal["active", "shadow", "disabled"]
RULE_ID: Final = r"^[a-z][a-z0-9_]{1,63}$"
EXAMPLE: Final[dict[str, Any]] = {
    "title": "A web server's child read the payroll files",
    "attack": ["T1005"],
    "family": "credentials",
    "weight": 1.1,
    "why": "{exe} opened {path}",
    "step": [
        {
            "calls": ["@open"],
            "where": {"path": {"prefix": ["/srv/payroll/"]}, "access": {"eq": "r"}},
            "unless": [{"tool": {"in": ["payrolld", "restic"]}}],
        }
    ],
    "test": [
        {
            "name": "a shell reads a file of the payroll",
            "hits": True,
            "events": [
                {
                    "exe": "/bin/cat",
                    "call": "openat",
                    "args": {"path": "/srv/payroll/2026.csv", "flags": ["O_RDONLY"]},
                    "ret": 3,
                }
            ],
        },
        {
            "name": "an interpreter reads another",
            "hits": True,
            "events": [
                {"exe": "/usr/bin/python3", "call": "open", "args": {"path": "/srv/payroll/a.db"}, "ret": 4}
            ],
        },
        {
            "name": "the service itself",
            "hits": False,
            "events": [
                {"exe": "/usr/sbin/payrolld", "call": "open", "args": {"path": "/srv/payroll/a.db"}, "ret": 4}
            ],
        },
        {
            "name": "the nightly backup",
            "hits": False,
            "events": [
                {"exe": "/usr/bin/restic", "call": "open", "args": {"path": "/srv/payroll/a.db"}, "ret": 4}
            ],
        },
    ],
}
RuleSource = Annotated[
    dict[str, Any],
    Field(
        description="A rule in the very words of the files that ship, as JSON: `title`, `attack`, `family`, `weight`"
        f" (nats, 0 to {MAX_WEIGHT:g}), `half_life_s`, `scope`, `within_s`, `order`, `step`, `count`, `distinct`,"
        " `full_at`, `scale`, `except`, `why`, `note`, and `test`: at least two that hit, two that do not. Families: "
        f"{', '.join(sorted(HALF_LIFE_S))}. Operators: eq in prefix suffix glob bits ge.",
        examples=[EXAMPLE],
    ),
]
ShadowDays = Annotated[
    int | None,
    Field(ge=1, le=90, description="Days in shadow before hits count; null = until told."),
]


class RuleRequest(BaseModel):
    """What `PUT /risk/rules/{rule_id}` takes: the rule, and what its hits do at first."""

    model_config = ConfigDict(extra="forbid")

    rule: RuleSource
    state: Annotated[State, Field(description="shadow: hits are counted and shown, not added.")] = "shadow"
    shadow_days: ShadowDays = SHADOW_DAYS


class RuleChange(BaseModel):
    """What `PATCH` takes: enabled, weight, except of a rule of the product; state of one's own; null = as it ships."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool | None = None
    weight: Annotated[float | None, Field(description=f"In nats, 0 to {MAX_WEIGHT:g}.", examples=[0.5])] = (
        None
    )
    excepts: Annotated[
        list[dict[str, Any]] | None,
        Field(alias="except", max_length=64, description="Added to the exceptions that the rule has."),
    ] = None
    state: State | None = None
    shadow_days: ShadowDays = None


class RuleQuery(BaseModel):
    """Filters of `GET /risk/rules`."""

    origin: Literal["builtin", "tenant"] | None = None
    state: State | None = None
    technique: Annotated[str, Field(max_length=9, description="ATT&CK id, such as T1059.004.")] | None = None


class RuleHitsShape(BaseModel):
    """How often a rule hit within seven days of event time, and how often that was added to a risk."""

    hits: int
    added: int


class RuleShape(BaseModel):
    """One rule as it is in force; `enabled` is false when its hits are only told."""

    id: str
    evidence_id: str
    origin: Literal["builtin", "tenant"]
    version: int
    title: str
    attack: list[str]
    family: str
    weight: Annotated[float, Field(description="In nats, as in force here.")]
    shipped_weight: Annotated[float | None, Field(description="As it ships; null for one's own rule.")]
    state: State
    enabled: bool
    shadow_since: str | None
    shadow_until: str | None
    overridden: bool
    hits_7d: RuleHitsShape


class RuleDetail(RuleShape):
    """A rule whole: as it is written, with its tests, and what the tenant changed of it."""

    rule: dict[str, Any]
    excepts: Annotated[
        list[dict[str, Any]],
        Field(alias="except", description="The tenant's own exceptions, added to the rule's."),
    ]


class RuleList(BaseModel):
    """One page of rules by id."""

    data: list[RuleShape]
    pagination: Pagination


class TechniqueShape(BaseModel):
    """One technique and the rules that speak to it."""

    id: str
    covered: bool
    rules: list[str]
    muted_rules: Annotated[list[str], Field(description="In shadow, switched off or without weight.")]


class CoverageShape(BaseModel):
    """The rules in force laid over the list of techniques; `outside` are those of rules that the list lacks."""

    source: str
    total: int
    covered: int
    percent: float
    techniques: list[TechniqueShape]
    outside: list[TechniqueShape]


def new_rule_of(wanted: RuleRequest) -> NewRule:
    """Return what a request asks for."""
    return NewRule(wanted.rule, wanted.state, wanted.shadow_days)


def change_of(change: RuleChange) -> Change:
    """Return the members that a request names, as they are called on the wire."""
    given = {name: getattr(change, name) for name in change.model_fields_set}
    if "excepts" in given:
        given["except"] = given.pop("excepts")
    return Change(given)


def rule_shape(shown: ShownRule) -> RuleShape:
    """Return the public form of a rule in a list."""
    return RuleShape(**_members(shown))


def rule_detail(shown: ShownRule) -> RuleDetail:
    """Return the public form of a whole rule."""
    excepts = [] if shown.override is None else list(shown.override.excepts)
    return RuleDetail(**_members(shown), rule=dict(shown.rule.source), **{"except": excepts})


def coverage_shape(found: Coverage) -> CoverageShape:
    """Return the public form of a coverage."""
    total = len(found.techniques)
    return CoverageShape(
        source=SOURCE,
        total=total,
        covered=found.covered,
        percent=round(100 * found.covered / total, 1),
        techniques=[
            TechniqueShape(
                id=name,
                covered=name in found.counting,
                rules=list(found.counting.get(name, ())),
                muted_rules=list(found.muted.get(name, ())),
            )
            for name in found.techniques
        ],
        outside=[
            TechniqueShape(id=name, covered=False, rules=list(names), muted_rules=[])
            for name, names in found.outside.items()
        ],
    )


def _members(shown: ShownRule) -> dict[str, Any]:
    rule, shadow = shown.rule, shown.shadow
    return {
        "id": rule.id,
        "evidence_id": rule.evidence_id,
        "origin": rule.origin,
        "version": rule.version,
        "title": rule.title,
        "attack": list(rule.attack),
        "family": rule.family,
        "weight": _weight(shown),
        "shipped_weight": None if shown.shipped is None else shown.shipped.weight / 1_000_000,
        "state": shown.state,
        "enabled": not rule.muted,
        "shadow_since": None if shadow is None else rfc3339(shadow.began_at),
        "shadow_until": None if shadow is None else rfc3339(shadow.ends_at),
        "overridden": rule.origin == BUILTIN and shown.override is not None,
        "hits_7d": RuleHitsShape(hits=shown.hits.hits, added=shown.hits.added),
    }


def _weight(shown: ShownRule) -> float:
    """Return the weight in force; one set to 0 keeps its old one for what is told as suppressed."""
    override = shown.override
    if override is not None and override.weight is not None:
        return override.weight
    return shown.rule.weight / 1_000_000
