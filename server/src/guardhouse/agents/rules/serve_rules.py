"""What an agent gets when it asks for its rules: the newest document of its group, or that it has it already."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    """The answer for one agent of a group. ``text`` is None when it has this version; revision 0: none published."""

    revision: int
    group: tuple[Target, ...]
    text: str | None = None

    @property
    def target_hex(self) -> str:
        """Return what stands for the group."""
        return target_hex(self.group)

    @property
    def etag(self) -> str:
        """Return the entity tag of the document."""
        return etag(f"{self.revision}-{self.target_hex}")


async def serve_rules(tx: Tx, tenant: TenantKey, project: Project, asked: Asked) -> Served:
    """Return what an agent gets; the whole document, unless it has said which version it has."""
    place = place_of(tenant.id, project)
    newest = await queries.get_newest(tx, place)
    served = about(newest, asked)
    if newest is None or has_it(asked, served):
        return served
    document = await document_of(tx, place, project.slug, newest, served.group)
    return replace(served, text=document.text)


def about(newest: Revision | None, asked: Asked) -> Served:
    """Return which version is an agent's, without the document; before the first publication the empty one."""
    if newest is None:
        nothing = Served(0, ())
        return nothing if has_it(asked, nothing) else replace(nothing, text=NOTHING_YET)
    return Served(newest.number, matched(newest.targets, asked.asker))


def has_it(asked: Asked, served: Served) -> bool:
    """Compare If-None-Match with the version that is the agent's, weakly (RFC 9110 §13.1.2)."""
    if asked.known is None:
        return False
    tags = {part.strip().removeprefix("W/") for part in asked.known.split(",")}
    return "*" in tags or served.etag in tags


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
