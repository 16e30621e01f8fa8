"""What is known of the addresses that did something to a project: by falling score, and each with its reasons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from guardhouse.agents.projects.read import Project
from guardhouse.agents.rules.publish import place_of
from guardhouse.agents.rules.queries import list_net_rules
from guardhouse.agents.rules.store import StoredRule
from guardhouse.analysis.abuse import score
from guardhouse.analysis.abuse.address import NoAddress, Scored, read_scored
from guardhouse.analysis.abuse.score import Contribution
from guardhouse.events.app import queries
from guardhouse.events.ips import store
from guardhouse.events.ips.rate_addresses import SPAN, counts_of, start_of
from guardhouse.events.ips.store import Bucket, Known, Place
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.pages import Page

LOOKED_AT: Final = 2000
LISTED: Final = 20
_MARGIN: Final = 0.01  # a rank is a rounded number; the exact score decides


@dataclass(frozen=True, slots=True)
class ShownAddress:
    """An address of a project with its score now. ``events``: those that count, of the last 24 hours, by type."""

    known: Known
    score: int
    activity: int
    events: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reason:
    """One contribution with the start of its ten minutes and ids of some of its events."""

    contribution: Contribution
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class Facts:
    """What the newest events of an address say, each value with how often; ``whole``: these are all of 24 hours."""

    events: int
    whole: bool
    endpoints: list[tuple[str, int]]
    user_agents: list[tuple[str, int]]
    countries: list[tuple[str, int]]
    installations: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class AddressDetail:
    """All that is known of an address in a project. ``elsewhere``: the other projects of the tenant.

    ``rules``: those about its network, each with when it ended.
    """

    scored: Scored
    shown: ShownAddress
    reasons: list[Reason]
    facts: Facts
    rules: list[tuple[StoredRule, datetime | None]]
    elsewhere: list[ShownAddress]


async def list_addresses(
    tx: Tx, tenant: TenantKey, project: Project, least: int, page: Page, now: datetime
) -> list[ShownAddress]:
    """Return addresses with a score of at least ``least``, the highest first: one more than a page at most."""
    bound = score.rank_for(least, score.bucket_of(now.timestamp())) - _MARGIN if least else None
    known = await store.list_known(tx, (tenant.no, project.no), bound, page.limit + 1, page.after)
    shown, _ = await _shown(tx, tenant, known, now)
    return [each for each in shown if each.score >= least]


async def get_address(tx: Tx, tenant: TenantKey, project: Project, text: str, now: datetime) -> AddressDetail:
    """Return what is known of an address, written as people write it.

    Raises:
        NotFound: the text is no address, or nothing is known of it in this project.
    """
    scored = read_address(text)
    known = await store.list_projects(tx, tenant.no, scored.name)
    shown, buckets = await _shown(tx, tenant, known, now)
    here = next((each for each in shown if each.known.project_no == project.no), None)
    if here is None:
        raise NotFound("Nothing is known of this address.")
    own = buckets[Place(tenant.no, project.no, scored.name)]
    return AddressDetail(
        scored,
        here,
        _reasons(own, now),
        await _facts(tx, tenant, project, scored, own, now),
        await _rules(tx, tenant, project, scored),
        [each for each in shown if each is not here],
    )


def read_address(text: str) -> Scored:
    """Return the address in a path.

    Raises:
        NotFound: it is none.
    """
    try:
        return read_scored(text)
    except NoAddress:
        raise NotFound("Nothing is known of this address.") from None


async def _shown(
    tx: Tx, tenant: TenantKey, known: Sequence[Known], now: datetime
) -> tuple[list[ShownAddress], dict[Place, list[Bucket]]]:
    places = [Place(tenant.no, each.project_no, each.address) for each in known]
    buckets = await store.list_buckets(tx, places, now - SPAN)
    return [_one(each, buckets[place], now) for each, place in zip(known, places, strict=True)], buckets


def _one(known: Known, buckets: Sequence[Bucket], now: datetime) -> ShownAddress:
    active = score.activity(counts_of(buckets), score.bucket_of(now.timestamp()))
    events: Counter[str] = Counter()
    for bucket in buckets:
        events[bucket.event_type] += bucket.count
    return ShownAddress(known, score.score_of(active), active, dict(sorted(events.items())))


def _reasons(buckets: Sequence[Bucket], now: datetime) -> list[Reason]:
    by_place = {(bucket.event_type, bucket.starts_at): bucket for bucket in buckets}
    return [
        Reason(each, by_place[each.event_type, start_of(each.bucket)])
        for each in score.contributions(counts_of(buckets), score.bucket_of(now.timestamp()))
    ]


async def _facts(
    tx: Tx, tenant: TenantKey, project: Project, scored: Scored, buckets: Sequence[Bucket], now: datetime
) -> Facts:
    """Return what the events say; those of a hash are found by the samples alone, for no index holds them."""
    if scored.network is None:
        ids = [each for bucket in buckets for each in bucket.sample_ids]
        found = await queries.list_by_ids(tx, tenant.no, ids, now - SPAN, LOOKED_AT)
        whole = len(found) == sum(bucket.count for bucket in buckets)
    else:
        found = await queries.list_by_network(
            tx, tenant.no, project.no, scored.network, now - SPAN, LOOKED_AT + 1
        )
        whole = len(found) <= LOOKED_AT
    found = found[:LOOKED_AT]
    return Facts(
        len(found),
        whole,
        _most([each.endpoint for each in found]),
        _most([each.user_agent for each in found]),
        _most([each.country for each in found]),
        _most([each.installation for each in found]),
    )


async def _rules(
    tx: Tx, tenant: TenantKey, project: Project, scored: Scored
) -> list[tuple[StoredRule, datetime | None]]:
    if scored.network is None:
        return []
    return await list_net_rules(tx, place_of(tenant.id, project), str(scored.network), LISTED)


def _most(values: Sequence[str | None]) -> list[tuple[str, int]]:
    counts = Counter(value for value in values if value)
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED]
