"""Notices about the rules of apps."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity

_EXAMPLE = {
    "project_id": "01990000-0000-7000-8000-000000000000",
    "project": "shop",
    "revision": 12,
    "cause": "change",
    "author": "key:01990000-0000-7000-8000-000000000001",
    "rules": 4,
    "added": 1,
    "changed": 0,
    "removed": 0,
}


class RulesPublished(NoticeData):
    """The rules of a project have a new revision: agents get it at their next call, waiting ones at once."""

    kind: ClassVar[str] = "rules.published"
    scope: ClassVar[str] = "projects:read"
    example: ClassVar[Mapping[str, Any]] = _EXAMPLE

    project_id: str
    project: Annotated[str, Field(description="Its slug.")]
    revision: Annotated[int, Field(ge=1)]
    cause: Annotated[str, Field(description="`change`, `restore`, `start`, `expiry` or `policy`.")]
    author: str
    rules: Annotated[int, Field(ge=0, description="Rules of the project now.")]
    added: Annotated[int, Field(ge=0)]
    changed: Annotated[int, Field(ge=0)]
    removed: Annotated[int, Field(ge=0)]

    @property
    def subject(self) -> str:
        """Return the project's rules."""
        return f"rules:{self.project_id}"


class RulesRolledBack(RulesPublished):
    """The rules of a project are those of an earlier revision again, as a new one."""

    kind: ClassVar[str] = "rules.rolled_back"
    example: ClassVar[Mapping[str, Any]] = _EXAMPLE | {"cause": "restore", "restored": 9}

    restored: Annotated[int, Field(ge=1, description="The revision whose rules they are.")]

    @property
    def severity(self) -> Severity:
        """Somebody has gone back: low."""
        return Severity.LOW


class RulesAdopted(NoticeData):
    """Every process of a project that asks for rules has applied a revision; said once."""

    kind: ClassVar[str] = "rules.adopted"
    scope: ClassVar[str] = "projects:read"
    example: ClassVar[Mapping[str, Any]] = {
        "project_id": "01990000-0000-7000-8000-000000000000",
        "project": "shop",
        "revision": 12,
        "instances": 8,
        "seconds": 41,
    }

    project_id: str
    project: Annotated[str, Field(description="Its slug.")]
    revision: Annotated[int, Field(ge=1)]
    instances: Annotated[int, Field(ge=1, description="Processes that have applied it.")]
    seconds: Annotated[int, Field(ge=0, description="From the publication until this was seen.")]

    @property
    def subject(self) -> str:
        """Return the project's rules."""
        return f"rules:{self.project_id}"
