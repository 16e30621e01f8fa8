"""What an agent gets when it asks for its rules: the newest document of its group, or that it has it already."""

from collections.abc import Sequence
from dataclasses import dataclass

from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules import queries, store
from guardhouse.agents.rules.ask import Asked
from guardhouse.agents.rules.documents import make_document
from guardhouse.agents.rules.publish import place_of
from guardhouse.agents.rules.store import Document, Place, Revision
from guardhouse.analysis.abuse.target import Target, matched, target_hex
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.etag import etag

NOTHING_YET = "{}"


@dataclass(frozen=True, slots=True)
class Served:
    """The answer for one agent. ``text`` is None when the agent has this version; revision 0: none published."""

    revision: int
    target_hex: str
    text: str | None

    @property
    def etag(self) -> str:
        """Return the entity tag of the document."""
        return etag(f"{self.revision}-{self.target_hex}")


async def serve_rules(tx: Tx, tenant: TenantKey, project: Project, asked: Asked) -> Served:
    """Return what an agent gets; the whole document, unless it has said which version it has."""
    place = place_of(tenant.id, project)
    newest = await queries.get_newest(tx, place)
    group = () if newest is None else matched(newest.targets, asked.asker)
    number = 0 if newest is None else newest.number
    served = Served(number, target_hex(group), None)
    if asked.known is not None and _holds(asked.known, served.etag):
        return served
    if newest is None:
        return Served(number, served.target_hex, NOTHING_YET)
    document = await document_of(tx, place, project.slug, newest, group)
    return Served(number, served.target_hex, document.text)


async def document_of(
    tx: Tx, place: Place, slug: str, revision: Revision, group: Sequence[Target]
) -> Document:
    """Return a group's document of a revision: as it was kept, or made as it would have been, and kept."""
    kept = await queries.find_document(tx, place, revision.number, target_hex(group))
    if kept is not None:
        return kept
    rules = [stored.rule for stored in await queries.list_rules_of(tx, place, revision.number)]
    made = make_document(slug, revision, rules, group)
    await store.keep_document(tx, place, revision.number, made)
    return made


def _holds(known: str, tag: str) -> bool:
    """Compare If-None-Match with an entity tag, weakly (RFC 9110 §13.1.2)."""
    return known.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in known.split(",")}
