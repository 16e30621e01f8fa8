"""Who asks for rules, and which version it has: by its headers, and by what it has said of itself before."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from guardhouse.agents.instances.sender import Sender, version_of
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.queries import Known
from guardhouse.agents.rules.store import Place
from guardhouse.analysis.abuse.target import Asker
from guardhouse.foundation.database import Tx


@dataclass(frozen=True, slots=True)
class Asked:
    """An agent that asks. ``known`` is its If-None-Match."""

    asker: Asker
    known: str | None = None


def named_project(headers: Mapping[str, str]) -> str | None:
    """Return the project that an agent names; what cannot be printed in it does not count."""
    return "".join(sign for sign in headers.get("x-project-id", "").strip() if sign.isprintable()) or None


async def find_asker(tx: Tx, place: Place, sender: Sender, installation: str) -> Asker:
    """Return what is known of the sender of a request.

    Released clients do not say which process they are: the one of their installation that was heard last tells
    what the headers do not.
    """
    if sender.instance_id is not None:
        known = await queries.find_instance(tx, place, sender.instance_id)
    else:
        known = await queries.find_installation(tx, place, installation)
    return asker_of(known, installation, sender.instance_id, version_of(sender.user_agent))


def asker_of(
    known: Known | None, installation: str, instance_id: UUID | None, agent_version: str | None
) -> Asker:
    """Return an agent as targets see it."""
    process = known.process if known else {}
    tags = process.get("tags")
    return Asker(
        installation=installation,
        instance=None if instance_id is None else str(instance_id),
        agent_version=agent_version or (known.agent_version if known else None),
        guard_version=known.guard_version if known else None,
        environment=_word(process.get("environment")),
        service=_word(process.get("service")),
        tags=frozenset(_words(tags)),
    )


def asker_of_known(known: Known) -> Asker:
    """Return a process that has reported in as targets see it."""
    return asker_of(known, known.installation, known.instance_id if known.named else None, None)


def _word(said: object) -> str | None:
    return said if isinstance(said, str) else None


def _words(tags: object) -> list[str]:
    """Return tags as words: a list as it is, an object as ``name=value``."""
    if isinstance(tags, Mapping):
        return [f"{name}={value}" for name, value in tags.items()]
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
