"""Protect a text, or end that; read what is kept of some for a scan. The text itself is never stored."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from guardhouse.analysis.injection.prompt_echo import SHINGLE, shingles
from guardhouse.audit.record import Entry, record
from guardhouse.detections.protected_texts import store
from guardhouse.detections.protected_texts.store import Hashed, ProtectedText
from guardhouse.detections.scan_task import Guarded
from guardhouse.detections.tenant_keys import prompt_keys
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, NotFound, Problem
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller

MOST: Final = 1_000


class ProtectedTextTooShort(Problem):
    """The text has too few words for a repetition of it to be told from chance."""

    status, code, title = 422, "protected_text_too_short", "Too short to be protected"
    remediation = f"Send the text as the model is given it, at least {SHINGLE} words."


class ProtectedTextNotFound(Problem):
    """The tenant has no protected text of this id; one of another tenant looks the same."""

    status, code, title = 422, "protected_text_not_found", "No such protected text"
    remediation = "Use ids of GET /api/v1/protected-texts."


async def protect(tx: Tx, resources: Resources, caller: Caller, label: str, text: str) -> ProtectedText:
    """Keep the keyed shingles of a text.

    Raises:
        ProtectedTextTooShort: it has fewer than eight words.
        Conflict: the tenant has as many as it may have.
    """
    if await store.count_texts(tx, caller.tenant.id) >= MOST:
        raise Conflict(f"A tenant has at most {MOST:,} protected texts.", limit=MOST)
    pepper, key = next(iter(prompt_keys(resources, caller.tenant.id).items()))
    hashes = sorted(await asyncio.to_thread(shingles, text, key))
    if not hashes:
        raise ProtectedTextTooShort(
            f"`text` has fewer than {SHINGLE} words.",
            errors=[{"pointer": "/text", "code": ProtectedTextTooShort.code, "detail": "Too few words."}],
        )
    made = ProtectedText(new_id(), label, len(hashes), resources.clock.now(), caller.actor.name)
    await store.add_text(tx, caller.tenant.id, made, Hashed(made.id, pepper, b"".join(hashes)))
    after = {"label": label, "shingles": made.shingles}
    await record(tx, caller.actor, Entry("protected_text.create", f"protected_text:{made.id}", after=after))
    return made


async def unprotect(tx: Tx, caller: Caller, text_id: UUID) -> None:
    """Forget a protected text.

    Raises:
        NotFound: the tenant has none of this id.
    """
    gone = await store.delete_text(tx, caller.tenant.id, text_id)
    if gone is None:
        raise NotFound("There is no such protected text.")
    entry = Entry("protected_text.delete", f"protected_text:{gone.id}", before={"label": gone.label})
    await record(tx, caller.actor, entry)


async def guarded(resources: Resources, tenant: TenantKey, ids: Sequence[UUID]) -> tuple[Guarded, ...]:
    """Return what a scan needs of protected texts, in the order of ids.

    Raises:
        ProtectedTextNotFound: the tenant has none of an id.
        DatabaseAway: the database cannot be asked.
    """
    if not ids:
        return ()
    async with tenant_transaction(resources, tenant) as tx:
        found = {one.id: one for one in await store.read_hashed(tx, tenant.id, ids)}
    keys = prompt_keys(resources, tenant.id)
    errors = [
        {
            "pointer": f"/protected_texts/{place}",
            "code": ProtectedTextNotFound.code,
            "detail": "There is no such protected text.",
        }
        for place, one in enumerate(ids)
        if one not in found
    ]
    if errors:
        raise ProtectedTextNotFound("There is no such protected text.", errors=errors)
    known = [found[one] for one in ids]
    return tuple(Guarded(keys[one.pepper], one.shingles) for one in known if one.pepper in keys)
