"""Record who did what, in the transaction of the change: both commit, or neither.

The entry goes out in one message with COMMIT, after all else that the transaction does: it takes the tenant's head
row, which is what makes the chain one line, and nobody waits for more than a commit. Within the transaction it is
not to be seen; ``tx.settle()`` writes it at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from guardhouse.audit import store
from guardhouse.audit.mask import mask
from guardhouse.foundation import correlation, peer
from guardhouse.foundation.database import Tx


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, in which tenant: ``name`` is ``kind:id`` (``key:0199…``, ``user:…``, ``system:up``)."""

    tenant_id: UUID
    name: str
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done: ``action`` is ``noun.verb`` (``key.revoke``), ``target`` is ``type:id``.

    ``before`` and ``after`` hold the members that changed, as JSON values; secrets in them are masked.
    """

    action: str
    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason: str | None = None


async def record(tx: Tx, actor: Actor, entry: Entry) -> None:
    """Append one entry to the chain of the actor's tenant."""
    who = peer.current()
    store.append(
        tx,
        store.Line(
            tenant_id=actor.tenant_id,
            actor=actor.name,
            credential=actor.credential,
            action=entry.action,
            target=mask(entry.target),
            before=_json(entry.before),
            after=_json(entry.after),
            reason=mask(entry.reason),
            ip=who.address,
            user_agent=mask(who.user_agent),
            correlation_id=correlation.current(),
        ),
    )


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(mask(value), default=str)
