"""Shapes of revisions on the wire: what each changed, which documents it has, who has applied it."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.rules.queries import Adoption
from guardhouse.agents.rules.store import Document, Revision, StoredRule
from guardhouse.agents.rules.wire import (
    AppRuleShape,
    DynamicRulesShape,
    Force,
    Reason,
    TargetShape,
    app_rule_shape,
)
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination


class RestoreRequest(BaseModel):
    """What `POST …/restore` takes."""

    model_config = ConfigDict(extra="forbid", title="RestoreRules")

    reason: Reason | None = None
    force: Force = False


class RevisionShape(BaseModel):
    """One revision: the outcome of a change at an instant."""

    revision: int
    published_at: str
    author: str
    cause: Annotated[
        Literal["change", "restore", "start", "expiry", "renewal", "policy"],
        Field(
            description="`renewal`: nothing changed; apps are told their bans again before they forget them."
        ),
    ]
    reason: str | None
    restored: Annotated[int | None, Field(description="The revision that was gone back to.")]
    adopted_at: Annotated[str | None, Field(description="When every process that polls had applied it.")]


class RevisionList(BaseModel):
    """One page of revisions."""

    data: list[RevisionShape]
    pagination: Pagination


class RuleDifference(BaseModel):
    """A rule before and after; null: it was not there, or is not there any more."""

    before: AppRuleShape | None
    after: AppRuleShape | None


class GroupDocumentShape(BaseModel):
    """What one group of agents gets; a group is those for whom the same targets hold."""

    targets: list[TargetShape]
    document: DynamicRulesShape
    not_served: Annotated[list[str], Field(description="Networks beyond the 1,000 that a document holds.")]


class AdoptionShape(BaseModel):
    """Processes by what they have of the revision, or of a later one; released ones take up to their poll, 300 s."""

    served: int
    applied: int
    failed: Annotated[
        int,
        Field(description="Given it ten minutes ago or more, and only of earlier ones said to be applied."),
    ]
    waiting: Annotated[int, Field(description="Polling, and not given it yet.")]
    not_polling: Annotated[int, Field(description="Not heard asking for 15 minutes, or never.")]


class RevisionDetail(RevisionShape):
    """One revision whole."""

    changes: list[RuleDifference]
    documents: Annotated[
        list[GroupDocumentShape], Field(description="Kept for a month, and as long as they are in force.")
    ]
    adoption: AdoptionShape


class PublishedShape(BaseModel):
    """What a change came to."""

    revision: RevisionShape
    added: Annotated[list[AppRuleShape], Field(description="New or changed, with releases that follow.")]
    ended: list[AppRuleShape]


class EffectiveRules(BaseModel):
    """The rules of one process: now, as it got them last, and as it says that it applied them."""

    instance: str | None = None
    current: Annotated[GroupDocumentShape | None, Field(description="null: nothing was published yet.")]
    served_revision: int | None = None
    served: Annotated[
        DynamicRulesShape | None, Field(description="The document of that revision, for what it is now.")
    ] = None
    applied_revision: int | None = None


def revision_shape(revision: Revision) -> RevisionShape:
    """Return the public form of a revision."""
    return RevisionShape(**_members(revision))


def revision_detail(
    revision: Revision,
    changes: Sequence[StoredRule],
    documents: Iterable[Document],
    adoption: Adoption,
) -> RevisionDetail:
    """Return a revision with what it changed: rules ``until`` it as they were, rules ``since`` it as they became."""
    pairs: dict[UUID, dict[str, AppRuleShape | None]] = {}
    for rule in changes:
        pair = pairs.setdefault(rule.id, {"before": None, "after": None})
        pair["after" if rule.since == revision.number else "before"] = app_rule_shape(
            rule, revision.published_at
        )
    return RevisionDetail(
        **_members(revision),
        changes=[RuleDifference(**pair) for pair in pairs.values()],
        documents=[group_shape(document) for document in documents],
        adoption=AdoptionShape.model_validate(adoption, from_attributes=True),
    )


def group_shape(document: Document) -> GroupDocumentShape:
    """Return a group's document."""
    return GroupDocumentShape(
        targets=[TargetShape(**target.conditions) for target in document.targets],
        document=DynamicRulesShape(**json.loads(document.text)),
        not_served=list(document.not_served),
    )


def _members(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.number,
        "published_at": rfc3339(revision.published_at),
        "author": revision.author,
        "cause": revision.cause,
        "reason": revision.reason,
        "restored": revision.restored,
        "adopted_at": None if revision.adopted_at is None else rfc3339(revision.adopted_at),
    }
