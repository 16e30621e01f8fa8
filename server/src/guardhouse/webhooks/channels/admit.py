"""Hold the notices of one fan-out step against the rules of the channels they would go to."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from guardhouse.foundation.database import Tx
from guardhouse.notices.channel_kinds import ChannelSummary
from guardhouse.notices.read import Notice
from guardhouse.webhooks.channels import store
from guardhouse.webhooks.channels.config import ChannelConfig, read_config
from guardhouse.webhooks.channels.hold import Heard, Known, Tally, Verdict, decide
from guardhouse.webhooks.say import closes
from guardhouse.webhooks.store import Endpoint

Pair = tuple[Endpoint, Notice, str]  # a notice in a format for an endpoint


async def admit(tx: Tx, pairs: Sequence[Pair], now: datetime) -> list[Pair]:
    """Return what is told now, in the order given; what channels hold back is counted for their summaries."""
    asked = [pair for pair in pairs if pair[0].channel_config]
    if not asked:
        return list(pairs)
    tallies = await store.lock_tallies(tx, sorted({endpoint.id for endpoint, _, _ in asked}))
    places = {(endpoint.id, notice.subject) for endpoint, notice, _ in asked}
    known = await store.load_subjects(tx, sorted(places))
    changed_tallies: dict[tuple[UUID, UUID], Tally] = {}
    changed_known: dict[tuple[UUID, str, UUID], Known] = {}
    told = []
    for pair in pairs:
        endpoint, notice, _ = pair
        if not endpoint.channel_config or notice.kind == ChannelSummary.kind:
            told.append(pair)
            continue
        config = read_config(endpoint.channel_config)
        if not _of_stream(config, notice):
            continue
        place = (endpoint.id, notice.subject)
        tally, before = tallies.get(endpoint.id, Tally()), known.get(place)
        decision = decide(config.rules, tally, before, _heard(endpoint, notice), now)
        if decision.verdict is Verdict.TELL:
            told.append(pair)
        if decision.tally != tally:
            tallies[endpoint.id] = changed_tallies[endpoint.id, endpoint.tenant_id] = decision.tally
        if decision.known is not None and decision.known != before:
            known[place] = changed_known[*place, endpoint.tenant_id] = decision.known
    await store.save_tallies(tx, changed_tallies)
    await store.save_subjects(tx, changed_known)
    return told


def _heard(endpoint: Endpoint, notice: Notice) -> Heard:
    return Heard(
        severity=notice.severity,
        subject=notice.subject,
        closes=closes(notice.kind),
        pages=endpoint.channel == "pagerduty",
        at=notice.occurred_at,
    )


def _of_stream(config: ChannelConfig, notice: Notice) -> bool:
    if config.stream is None:
        return True
    data = msgspec.json.decode(notice.data)
    return config.stream in {data.get("stream_id"), data.get("stream")}
