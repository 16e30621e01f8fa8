"""The end of a shadow: a rule that was only counted begins to count, and its tenant is told what it would have done."""

from datetime import datetime

import msgspec

from guardhouse.analysis.risk.tailor import ACTIVE, SHADOW
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.notices.publish import publish
from guardhouse.notices.rule_kinds import RuleShadowReady
from guardhouse.scores.rules import store
from guardhouse.scores.rules.list_rules import NO_HITS
from guardhouse.scores.rules.save_rule import put_in_force
from guardhouse.scores.rules.store import OwnEntry, Shadow

BY = "system:shadow"


async def end_shadow(tx: Tx, shadow: Shadow, now: datetime) -> None:
    """Let a rule count whose shadow is over; nothing when somebody has changed it meanwhile."""
    tenant, rule_id = shadow.tenant, shadow.rule_id
    await store.hold(tx, tenant.no)
    standing = (await store.list_shadows(tx, tenant)).get(rule_id)
    stored = await store.get_set(tx, tenant.no)
    entry = stored.content.own.get(rule_id)
    if standing is None or standing.ends_at > now:
        return
    await store.drop_shadow(tx, tenant, rule_id)
    if entry is None or entry.state != SHADOW:
        return
    own = stored.content.own | {rule_id: OwnEntry(entry.version, ACTIVE)}
    content = msgspec.structs.replace(stored.content, own=own)
    made = await put_in_force(tx, tenant, stored, content, now, BY)
    source = (await store.get_sources(tx, tenant.no, {rule_id: entry.version}))[rule_id]
    hits = await store.sum_hits(tx, tenant.no, standing.began_at.date(), rule_id)
    ready = RuleShadowReady(
        rule_id=rule_id,
        title=str(source.get("title", rule_id)),
        rule_version=entry.version,
        hits=hits.get(rule_id, NO_HITS).hits,
        began_at=rfc3339(standing.began_at),
        ended_at=rfc3339(standing.ends_at),
    )
    await publish(tx, ready, tenant_id=tenant.id, subject_seq=made.version)
    told = {"state": SHADOW}, {"state": ACTIVE}
    await record(
        tx, Actor(tenant.id, BY), Entry("rule.end_shadow", f"rule:{rule_id}", before=told[0], after=told[1])
    )
