"""Shapes of addresses and their scores on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.rules.store import StoredRule
from guardhouse.events.ips.ban_address import Release
from guardhouse.events.ips.rate_addresses import start_of
from guardhouse.events.ips.read_addresses import AddressDetail, Facts, Reason, ShownAddress
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination

Band = Literal["none", "medium", "high", "critical"]


class AddressShape(BaseModel):
    """An address that did something to a project, with its abuse score now."""

    address: Annotated[
        str, Field(description="IPv4, the first address of an IPv6 /64, or the hash that the app sends.")
    ]
    project: Annotated[str, Field(description="Slug.")]
    score: Annotated[int, Field(description="0 to 999; halves its activity each hour.")]
    band: Annotated[Band, Field(description="As told last: left 50 points below its threshold.")]
    activity: Annotated[int, Field(description="Thousandths of a point; score = 1000 A / (A + 8000).")]
    events: Annotated[dict[str, int], Field(description="Events of the last 24 hours that weigh, by type.")]
    first_seen: str
    last_seen: str


class AddressList(BaseModel):
    """One page of addresses."""

    data: list[AddressShape]
    pagination: Pagination


class ContributionShape(BaseModel):
    """What the events of one type in one span of ten minutes add to the activity."""

    event_type: str
    bucket: Annotated[str, Field(description="When the ten minutes begin.")]
    count: int
    points: Annotated[int, Field(description="Thousandths of a point; all of them sum to `activity`.")]
    event_ids: Annotated[list[str], Field(description="Some of the events.")]


class ValueCount(BaseModel):
    """A value and in how many of the events it stands."""

    value: str
    count: int


class FactsShape(BaseModel):
    """What the newest events of an address say; the most frequent values."""

    events: Annotated[int, Field(description="Events that were looked at.")]
    whole: Annotated[bool, Field(description="Whether these are all events of the last 24 hours.")]
    endpoints: list[ValueCount]
    user_agents: list[ValueCount]
    countries: list[ValueCount]
    agents: Annotated[list[ValueCount], Field(description="Installations that saw it.")]


class NetRuleShape(BaseModel):
    """A rule that bans, releases or allows all of what is scored together."""

    id: UUID
    kind: Literal["ban_net", "release_net", "allow_net"]
    net: str
    state: Annotated[Literal["standing", "over"], Field(description="standing: in force, or about to be.")]
    source: Literal["manual", "auto", "import"]
    reason: str | None
    created_at: str
    created_by: str
    expires_at: str | None
    ended_at: Annotated[str | None, Field(description="When it was taken out, or ran out.")]


class BanRequest(BaseModel):
    """What `:ban` takes."""

    model_config = ConfigDict(extra="forbid", title="AddressBan")

    duration_seconds: Annotated[
        int | None, Field(ge=1, le=31_536_000, description="null = until it is released.")
    ] = 3600
    reason: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    force: Annotated[
        bool, Field(description="Ban even your own, private or protected addresses; needs `reason`.")
    ] = False


class ReleaseRequest(BaseModel):
    """What `:release` takes."""

    model_config = ConfigDict(extra="forbid", title="AddressRelease")

    reason: Annotated[str | None, Field(min_length=1, max_length=500)] = None


class ReleaseShape(BaseModel):
    """What a release came to; apps lift their own bans of the address at their next call, within 600 seconds."""

    revision: int
    lifted: Annotated[list[NetRuleShape], Field(description="Bans that were taken out.")]
    still: Annotated[list[NetRuleShape], Field(description="Other bans that go on to hold the address.")]


class AddressDetailShape(AddressShape):
    """All that is known of an address in a project."""

    network: Annotated[str | None, Field(description="What is scored together, and banned; null for a hash.")]
    contributions: list[ContributionShape]
    facts: FactsShape
    rules: Annotated[
        list[NetRuleShape], Field(description="Bans and releases, now and before; newest first.")
    ]
    elsewhere: Annotated[list[AddressShape], Field(description="The other projects that saw it.")]


class AddressQuery(BaseModel):
    """Filters of `GET /projects/{project_id}/ips`."""

    min_score: Annotated[int, Field(ge=0, le=999)] = 0


def address_shape(shown: ShownAddress) -> AddressShape:
    """Return the public form of an address."""
    known = shown.known
    return AddressShape(
        address=known.address,
        project=known.project,
        score=shown.score,
        band=known.band,
        activity=shown.activity,
        events=shown.events,
        first_seen=rfc3339(known.first_seen),
        last_seen=rfc3339(known.last_seen),
    )


def address_detail(detail: AddressDetail) -> AddressDetailShape:
    """Return the public form of all that is known of an address."""
    network = detail.scored.network
    return AddressDetailShape(
        **address_shape(detail.shown).model_dump(),
        network=None if network is None else str(network),
        contributions=[_contribution(reason) for reason in detail.reasons],
        facts=_facts(detail.facts),
        rules=[net_rule_shape(rule, ended_at) for rule, ended_at in detail.rules],
        elsewhere=[address_shape(other) for other in detail.elsewhere],
    )


def net_rule_shape(rule: StoredRule, ended_at: datetime | None = None) -> NetRuleShape:
    """Return the public form of a rule about a network."""
    ends_at = rule.rule.expires_at
    return NetRuleShape(
        id=rule.id,
        kind=rule.rule.kind,
        net=str(rule.rule.value["net"]),
        state="standing" if ended_at is None else "over",
        source=rule.source,
        reason=rule.reason,
        created_at=rfc3339(rule.created_at),
        created_by=rule.created_by,
        expires_at=None if ends_at is None else rfc3339(ends_at),
        ended_at=None if ended_at is None else rfc3339(ended_at),
    )


def release_shape(release: Release) -> ReleaseShape:
    """Return the public form of a release."""
    at = release.published.revision.published_at
    return ReleaseShape(
        revision=release.published.revision.number,
        lifted=[net_rule_shape(rule, at) for rule in release.lifted],
        still=[net_rule_shape(rule) for rule in release.still],
    )


def _contribution(reason: Reason) -> ContributionShape:
    part = reason.contribution
    return ContributionShape(
        event_type=part.event_type,
        bucket=rfc3339(start_of(part.bucket)),
        count=part.count,
        points=part.points,
        event_ids=[each.hex for each in reason.bucket.sample_ids],
    )


def _facts(facts: Facts) -> FactsShape:
    return FactsShape(
        events=facts.events,
        whole=facts.whole,
        endpoints=_counts(facts.endpoints),
        user_agents=_counts(facts.user_agents),
        countries=_counts(facts.countries),
        agents=_counts(facts.installations),
    )


def _counts(pairs: list[tuple[str, int]]) -> list[ValueCount]:
    return [ValueCount(value=value, count=count) for value, count in pairs]
