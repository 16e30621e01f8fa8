"""Heads go on and off: by themselves when their time in shadow is over, or by a person. Audited.

Invariant: at most one head of an alphabet is on; what goes on has told unseen runs apart well enough.
"""

from datetime import datetime, timedelta
from typing import Final

from guardhouse.analysis.risk.train_head import LEAST_AUC
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.scores.heads import store
from guardhouse.scores.heads.store import OFF, ON, SHADOW, StoredHead

IN_SHADOW: Final = timedelta(days=7)
BY: Final = "system:heads"


async def end_shadow(tx: Tx, tenant: TenantKey, version: int, now: datetime) -> None:
    """Let a head count whose shadow is over when it is good, and no worse than the one that is on; else it goes."""
    heads = await store.hold(tx, tenant.no)
    head = heads.get(version)
    if head is None or head.state != SHADOW:
        return
    on = _on(heads, head.alphabet)
    good = head.auc >= LEAST_AUC and (on is None or head.auc >= on.auc)
    await _switch(tx, tenant, Actor(tenant.id, BY), heads, (head, ON if good else OFF), now)


async def switch_head(
    tx: Tx, tenant: TenantKey, version: int, state: str, by: tuple[Actor, datetime]
) -> StoredHead:
    """Switch a head as a person wants it and return it; one that goes on takes the place of the one that is on.

    Raises:
        NotFound: there is no such head.
        Conflict: it must not go on: not good enough, or its time in shadow is not over.
    """
    actor, now = by
    heads = await store.hold(tx, tenant.no)
    head = heads.get(version)
    if head is None:
        raise NotFound("There is no such head.")
    if state == ON and head.auc < LEAST_AUC:
        raise Conflict(f"The head tells runs apart too badly: its AUC is below {LEAST_AUC}.")
    if state == ON and now - head.created_at < IN_SHADOW:
        raise Conflict(f"The head stays in shadow for {IN_SHADOW.days} days.")
    if head.state != state:
        await _switch(tx, tenant, actor, heads, (head, state), now)
    return (await store.hold(tx, tenant.no))[version]


def _on(heads: dict[int, StoredHead], alphabet: str) -> StoredHead | None:
    return next((head for head in heads.values() if head.state == ON and head.alphabet == alphabet), None)


async def _switch(
    tx: Tx,
    tenant: TenantKey,
    actor: Actor,
    heads: dict[int, StoredHead],
    change: tuple[StoredHead, str],
    now: datetime,
) -> None:
    head, state = change
    replaced = _on(heads, head.alphabet) if state == ON else None
    changes = [] if replaced is None else [(replaced, OFF)]
    for changed, to in [*changes, change]:
        await store.switch(tx, tenant.no, changed.version, to, now)
        told = {"state": changed.state}, {"state": to}
        await record(
            tx, actor, Entry("head.switch", f"head:{changed.version}", before=told[0], after=told[1])
        )
