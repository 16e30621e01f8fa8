"""Which addresses meet the cause of a policy: by their score, by what they did lately, or by what a notice says."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from guardhouse.analysis.abuse.address import NoAddress, read_scored
from guardhouse.events.app import queries
from guardhouse.events.ips import store as address_store
from guardhouse.events.ips.rate_addresses import SPAN
from guardhouse.events.ips.store import Place
from guardhouse.events.policies.act import Offence, Scene
from guardhouse.events.policies.policy import ByEvents, ByFinding, ByScore, Policy
from guardhouse.events.policies.store import Unjudged
from guardhouse.foundation.database import Tx
from guardhouse.notices.kind import Severity
from guardhouse.notices.read import Notice

_LISTED: Final = 10
_ADDRESS_MEMBERS: Final = ("address", "ip_address")


async def judge_addresses(tx: Tx, scene: Scene, policy: Policy, seen: Sequence[Unjudged]) -> list[Offence]:
    """Return those of some addresses of a project that meet the cause of a policy; writes nothing."""
    if isinstance(policy.cause, ByScore):
        return await _by_score(tx, scene, policy.cause, seen)
    if isinstance(policy.cause, ByEvents):
        return await _by_events(tx, scene, policy.cause, seen)
    return []


def judge_notice(policy: Policy, notice: Notice) -> Offence | None:
    """Return the address that a notice names, when the policy acts on such notices."""
    cause = policy.cause
    if not isinstance(cause, ByFinding) or notice.kind not in cause.kinds:
        return None
    if notice.severity.rank < Severity(cause.min_severity).rank:
        return None
    data: dict[str, Any] = json.loads(notice.data)
    text = next((data[name] for name in _ADDRESS_MEMBERS if isinstance(data.get(name), str)), None)
    try:
        scored = None if text is None else read_scored(text)
    except NoAddress:
        return None
    if scored is None:
        return None
    evidence = {"notice_id": str(notice.notice_id), "kind": notice.kind, "severity": notice.severity}
    evidence |= {name: data[name] for name in ("score", "event_ids") if name in data}
    return Offence(scored, f"{notice.kind}, {notice.severity}", evidence)


async def _by_score(tx: Tx, scene: Scene, cause: ByScore, seen: Sequence[Unjudged]) -> list[Offence]:
    hits = [each for each in seen if each.score >= cause.at_least]
    places = {each.address: Place(scene.tenant.no, scene.project.no, each.address) for each in hits}
    buckets = await address_store.list_buckets(tx, list(places.values()), scene.now - SPAN)
    found = []
    for each in hits:
        ids = [sample.hex for bucket in buckets[places[each.address]] for sample in bucket.sample_ids]
        evidence = {"score": each.score, "event_ids": ids[:_LISTED]}
        reason = f"score {each.score}, at least {cause.at_least}"
        found.append(Offence(read_scored(each.address), reason, evidence))
    return found


async def _by_events(tx: Tx, scene: Scene, cause: ByEvents, seen: Sequence[Unjudged]) -> list[Offence]:
    found = []
    for each in seen:
        scored = read_scored(each.address)
        if scored.network is None:
            continue
        since = scene.now - timedelta(seconds=cause.window_s)
        owner = (scene.tenant.no, scene.project.no)
        burst = await queries.find_burst(tx, owner, scored.network, cause.types, since)
        if burst.events >= cause.count and burst.endpoints >= cause.distinct_endpoints:
            reason = f"{burst.events} events at {burst.endpoints} endpoints within {cause.window_s} s"
            evidence = {"score": each.score, "event_ids": [event_id.hex for event_id in burst.ids]}
            found.append(Offence(scored, reason, evidence))
    return found
