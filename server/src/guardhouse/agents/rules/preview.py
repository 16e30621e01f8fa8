"""What a change of an app's rules would come to, for each group of agents; nothing is published."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.documents import make_document
from guardhouse.agents.rules.operations import Authorship, Operation, apply_to
from guardhouse.agents.rules.publish import living_groups, outcome_of, place_of
from guardhouse.agents.rules.serve_rules import document_of
from guardhouse.agents.rules.store import Document, Place, Revision, StoredRule
from guardhouse.agents.rules.warn import Warned, warned, warnings_of
from guardhouse.analysis.abuse.target import EVERYONE, Target
from guardhouse.foundation.database import Tx


@dataclass(frozen=True, slots=True)
class GroupPreview:
    """The document of one group of agents before and after; ``before`` is None when nothing was ever published.

    ``instances``: how many known processes are of the group.
    """

    targets: tuple[Target, ...]
    instances: int
    before: dict[str, Any] | None
    after: dict[str, Any]
    not_served: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RulesPreview:
    """What operations would come to: rules added (or changed) and ended, documents by group, warnings."""

    revision: Revision
    added: tuple[StoredRule, ...]
    ended: tuple[StoredRule, ...]
    groups: tuple[GroupPreview, ...]
    warnings: tuple[Warned, ...]


async def preview_documents(
    tx: Tx, project: Project, operations: Sequence[Operation], by: Authorship
) -> RulesPreview:
    """Return what operations would come to if they were applied now.

    Raises:
        AppRuleInvalid, NotFound, Conflict: as applying them would.
    """
    place = place_of(by.actor.tenant_id, project)
    before = await queries.list_rules(tx, place)
    newest = await queries.get_newest(tx, place)
    found = outcome_of(project, newest, before, apply_to(before, operations, by), by)
    rules = [stored.rule for stored in found.rules]
    living = await living_groups(tx, place, found.revision.targets)
    asked = {stored.rule.target for stored in found.added}
    for target in asked - {EVERYONE}:
        living.setdefault((target,), 0)  # shown, though nobody is known to be of it
    groups = []
    warnings = warnings_of(found.added, found.revision)
    for group, instances in sorted(living.items(), key=lambda pair: repr(pair[0])):
        made = make_document(project.slug, found.revision, rules, group)
        known = await _before(tx, place, project.slug, newest, group)
        groups.append(GroupPreview(group, instances, known, json.loads(made.text), made.not_served))
        warnings += _not_served(found.added, group, made)
    warnings += _unmatched(found.added, living)
    return RulesPreview(
        found.revision, found.added, found.ended, tuple(groups), tuple(dict.fromkeys(warnings))
    )


async def _before(
    tx: Tx, place: Place, slug: str, newest: Revision | None, group: Sequence[Target]
) -> dict[str, Any] | None:
    """Return what a group has now: of the targets that the change brings, nobody is one yet."""
    if newest is None:
        return None
    standing = tuple(target for target in group if target in newest.targets)
    document = await document_of(tx, place, slug, newest, standing)
    found: dict[str, Any] = json.loads(document.text)
    return found


def _not_served(added: Sequence[StoredRule], group: Sequence[Target], made: Document) -> list[Warned]:
    left_out = set(made.not_served)
    return [
        warned(stored, "not_served")
        for stored in added
        if stored.rule.kind == "ban_net"
        and stored.rule.target in (EVERYONE, *group)
        and stored.rule.value["net"] in left_out
    ]


def _unmatched(added: Sequence[StoredRule], living: dict[tuple[Target, ...], int]) -> list[Warned]:
    reached = {target for group, instances in living.items() if instances for target in group}
    return [
        warned(stored, "matches_no_instance")
        for stored in added
        if stored.rule.target != EVERYONE and stored.rule.target not in reached
    ]
