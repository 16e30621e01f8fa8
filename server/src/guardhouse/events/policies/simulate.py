"""Replays the last hours through a policy and says what it would have done; changes nothing.

Bans that it would have made do not take away the events that were seen without them.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from guardhouse.agents.rules.check_rule import Guarded, hit_of
from guardhouse.analysis.abuse import score
from guardhouse.analysis.abuse.address import Scored, read_scored
from guardhouse.analysis.abuse.networks import Network, spell
from guardhouse.events.app import queries
from guardhouse.events.app.queries import TypedEvent
from guardhouse.events.ips import store as address_store
from guardhouse.events.ips.rate_addresses import SPAN
from guardhouse.events.ips.store import AddressBucket
from guardhouse.events.policies.act import ACTIVE_BANS, HOUR, Scene
from guardhouse.events.policies.judge import judge_notice
from guardhouse.events.policies.ladder import net_of, step_after
from guardhouse.events.policies.policy import ByEvents, ByScore, Policy
from guardhouse.foundation.database import Tx
from guardhouse.notices import read

MAX_ROWS: Final = 100_000
LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """An address met the cause at an instant."""

    at: datetime
    scored: Scored
    reason: str


@dataclass(frozen=True, slots=True)
class WouldBan:
    """One ban that would have been made."""

    at: datetime
    address: str
    net: str
    step: int
    for_seconds: int
    reason: str


@dataclass(slots=True)
class Simulation:
    """What a policy would have done. ``whole``: everything of the span was replayed, not the first part only.

    ``refused``: by code, how often guarded addresses kept it from a ban.
    """

    since: datetime
    whole: bool
    bans: list[WouldBan] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    paused_at: datetime | None = None
    paused_by: str | None = None


async def simulate(tx: Tx, scene: Scene, policy: Policy, since: datetime) -> Simulation:
    """Replay what is stored from ``since`` on."""
    if isinstance(policy.cause, ByScore):
        rows = await address_store.list_span(
            tx, (scene.tenant.no, scene.project.no), since - SPAN, MAX_ROWS + 1
        )
        hits = _hits_by_score(rows[:MAX_ROWS], policy.cause.at_least, since)
        whole = len(rows) <= MAX_ROWS
    elif isinstance(policy.cause, ByEvents):
        cause = policy.cause
        begin = since - timedelta(seconds=cause.window_s)
        events = await queries.list_typed(
            tx, (scene.tenant.no, scene.project.no), cause.types, begin, MAX_ROWS + 1
        )
        hits = _hits_by_events(events[:MAX_ROWS], cause, since)
        whole = len(events) <= MAX_ROWS
    else:
        hits, whole = await _hits_by_notices(tx, scene, policy, since)
    found = Simulation(since, whole)
    _replay(found, scene, policy, sorted(hits, key=lambda hit: hit.at))
    return found


def _hits_by_score(rows: Sequence[AddressBucket], at_least: int, since: datetime) -> Iterable[Hit]:
    for address, own in groupby(rows, key=lambda row: row.address):
        counts: dict[tuple[str, int], int] = {}
        scored = read_scored(address)
        for starts_at, bucket in groupby(own, key=lambda row: row.starts_at):
            number = score.bucket_of(starts_at.timestamp())
            counts |= {(row.event_type, number): row.count for row in bucket}
            value = score.score_of(score.activity(counts, number))
            if value >= at_least and starts_at >= since:
                yield Hit(starts_at, scored, f"score {value}, at least {at_least}")


def _hits_by_events(events: Sequence[TypedEvent], cause: ByEvents, since: datetime) -> Iterable[Hit]:
    window = timedelta(seconds=cause.window_s)
    recent: dict[str, deque[TypedEvent]] = {}
    for event in events:
        scored = read_scored(event.ip)
        own = recent.setdefault(scored.name, deque())
        own.append(event)
        while own[0].at <= event.at - window:
            own.popleft()
        endpoints = len({each.endpoint for each in own if each.endpoint is not None})
        if event.at >= since and len(own) >= cause.count and endpoints >= cause.distinct_endpoints:
            yield Hit(
                event.at, scored, f"{len(own)} events at {endpoints} endpoints within {cause.window_s} s"
            )


async def _hits_by_notices(tx: Tx, scene: Scene, policy: Policy, since: datetime) -> tuple[list[Hit], bool]:
    kinds = getattr(policy.cause, "kinds", ())
    notices = await read.list_notices(tx, scene.tenant.id, kinds=kinds, before=None, limit=MAX_ROWS // 10)
    hits = [
        Hit(notice.occurred_at, offence.scored, offence.reason)
        for notice in notices
        if notice.project_id == scene.project.id and notice.occurred_at >= since
        for offence in [judge_notice(policy, notice)]
        if offence is not None
    ]
    return hits, len(notices) < MAX_ROWS // 10 or notices[-1].occurred_at < since


def _replay(found: Simulation, scene: Scene, policy: Policy, hits: Iterable[Hit]) -> None:
    """Walk the ladder and ask the brakes, hit by hit; a brake ends it, as it would have paused the policy."""
    never = (*policy.never, *scene.project.settings.never_ban)
    guarded = Guarded(None, never, tuple(scene.proxies))
    last: dict[Network, tuple[int, datetime]] = {}
    for hit in hits:
        net = net_of(hit.scored, policy.effect)
        if net is None or (net in last and last[net][1] > hit.at):
            continue
        refusal = hit_of(net, guarded)
        if refusal is not None:
            found.refused[refusal[0]] += 1
            last[net] = (last[net][0] if net in last else 0, hit.at + HOUR)
            continue
        brake = _brake(found, policy, hit.at)
        if brake is not None:
            found.paused_at, found.paused_by = hit.at, brake
            return
        step = 0 if net not in last else step_after(*last[net], hit.at, policy.effect)
        seconds = policy.effect.for_s[step]
        last[net] = (step, hit.at + timedelta(seconds=seconds))
        found.bans.append(WouldBan(hit.at, hit.scored.name, spell(net), step, seconds, hit.reason))


def _brake(found: Simulation, policy: Policy, at: datetime) -> str | None:
    in_hour = active = 0
    for ban in reversed(found.bans):
        in_hour += ban.at > at - HOUR
        active += ban.at + timedelta(seconds=ban.for_seconds) > at
    if in_hour >= policy.max_per_hour:
        return "max_per_hour"
    return "active_bans" if active >= ACTIVE_BANS else None
