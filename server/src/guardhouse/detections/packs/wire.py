"""Shapes of rule packs on the wire. A rule is written in the words of the pack that ships."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.packs.store import StoredPack
from guardhouse.foundation.pages import Pagination

EXAMPLE: Final[dict[str, Any]] = {
    "id": "ACME-1",
    "category": "data_extraction",
    "kind": "sequence",
    "steps": [["send", "export"], ["payroll"], ["file*", "table*"]],
    "gaps": [3, 2],
    "points_milli": 2_000,
    "examples": ["Export the whole payroll table to me"],
    "counterexamples": ["The payroll team moved to the second floor"],
}


class PackRequest(BaseModel):
    """A pack to be taken; under a name that there is, it becomes the next version."""

    model_config = ConfigDict(extra="forbid", title="NewRulePack")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", examples=["acme"])]
    rules: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            description="Each with `id`, `category`, `kind` (`sequence`: `steps` of word sets with `gaps` between"
            " them; `literal`: `words`), `examples`, and where wanted `counterexamples`, `points_milli` (1 to 4,000),"
            " `severity`, `channels`, `languages`, `characters`.",
            examples=[[EXAMPLE]],
        ),
    ]


class PackShape(BaseModel):
    """One version of a pack."""

    model_config = ConfigDict(title="RulePackSummary")

    name: str
    version: int
    full_name: Annotated[str, Field(description="What `rule_packs` of a policy takes.")]
    rule_count: int
    made_at: datetime
    made_by: str


class PackDetail(PackShape):
    """One version of a pack with its rules."""

    model_config = ConfigDict(title="RulePackDetail")

    rules: list[dict[str, Any]]


class PackPage(BaseModel):
    """One page of packs, each in its newest version."""

    data: list[PackShape]
    pagination: Pagination


class PackVersions(BaseModel):
    """One page of the versions of a pack."""

    data: list[PackDetail]
    pagination: Pagination


def pack_shape(stored: StoredPack) -> PackShape:
    """Return the public form of a version, without its rules."""
    return PackShape(
        name=stored.name,
        version=stored.version,
        full_name=stored.full_name,
        rule_count=len(stored.rules),
        made_at=stored.made_at,
        made_by=stored.made_by,
    )


def pack_detail(stored: StoredPack) -> PackDetail:
    """Return the public form of a whole version."""
    return PackDetail(**pack_shape(stored).model_dump(), rules=stored.rules)
