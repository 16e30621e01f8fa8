"""Bring instances up to the present: their state, when time alone will change it, and what is to be told of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from guardhouse.agents.instances import queries, store
from guardhouse.agents.instances.ledger import settle as settle_lane
from guardhouse.agents.instances.state import AHEAD, due_after, interval_of, state_of
from guardhouse.agents.instances.store import Instance, Place
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.notices.agent_kinds import AgentDegraded, AgentRecovered, AgentSilent, AgentUnaccounted
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.publish import Draft, Origin, publish_all

UNACCOUNTED_FOR: Final = timedelta(minutes=10)
_TOLD_OF_SILENCE: Final = ("silent", "succeeded")


async def settle(tx: Tx, place: Place, changed: Sequence[Instance]) -> None:
    """Work out the state of instances, publish what has changed for the worse or the better, and store them."""
    now = place.at
    for instance in changed:
        refresh(instance, now)
    fell_silent = [i.no for i in changed if is_silent(i) and i.told not in _TOLD_OF_SILENCE]
    succeeded = await queries.list_succeeded(tx, place.project_no, fell_silent) if fell_silent else set()
    drafts = [
        Draft(data, place.tenant.id, instance.told_seq, Origin(project_id=place.project_id))
        for instance in changed
        for data in _news(instance, now, succeeded=instance.no in succeeded)
    ]
    for instance in changed:
        instance.due_at = _next_look(instance)
    await store.save(tx, place, changed)
    await publish_all(tx, drafts)


def refresh(instance: Instance, now: datetime) -> None:
    """Work out how an instance is doing at this moment."""
    if instance.last_seen_at > now + AHEAD:
        instance.last_seen_at = now  # our own clock was ahead when it was heard
    instance.state = state_of(
        closed=instance.closed,
        health=instance.health,
        waiting=waiting_in(instance),
        silence=now - instance.last_seen_at,
        interval=interval_in(instance),
    )
    if unaccounted_in(instance) == 0:
        instance.unaccounted_since = instance.unaccounted_told_at = None
    elif instance.unaccounted_since is None:
        instance.unaccounted_since = now


def interval_in(instance: Instance) -> timedelta:
    """Return how often the process reports; ours also does when something changes."""
    return interval_of(instance.gaps, irregular=instance.named)


def is_silent(instance: Instance) -> bool:
    """Tell whether a process that did not say goodbye is not heard any more."""
    return instance.closed is None and instance.state in ("silent", "unclean")


def waiting_in(instance: Instance) -> int:
    """Return how many items the process said are still to be delivered."""
    return instance.buffered if instance.ledger is None else instance.ledger.waiting


def unaccounted_in(instance: Instance) -> int:
    """Return how many items of both lanes nobody can account for, by amount; 0 without a ledger."""
    if instance.ledger is None:
        return 0
    events = settle_lane(instance.ledger.events, instance.events).unaccounted
    metrics = settle_lane(instance.ledger.metrics, instance.metrics).unaccounted
    return abs(events) + abs(metrics)


def _next_look(instance: Instance) -> datetime | None:
    """Return when time alone changes something about an instance; None: never."""
    wait = due_after(instance.state, interval_in(instance))
    due = [] if wait is None else [instance.last_seen_at + wait]
    if instance.unaccounted_since is not None and instance.unaccounted_told_at is None:
        due.append(instance.unaccounted_since + UNACCOUNTED_FOR)
    return min(due, default=None)


def _news(instance: Instance, now: datetime, *, succeeded: bool) -> list[NoticeData]:
    """Return what is to be told of an instance, and note that it is."""
    about = {"agent_id": instance.installation, "instance_id": str(instance.id)}
    news: list[NoticeData] = []
    if is_silent(instance) and instance.told not in _TOLD_OF_SILENCE:
        # That a process stopped is no news where a younger one has taken its place.
        instance.told = "succeeded" if succeeded else "silent"
        if not succeeded:
            news.append(AgentSilent(**about, last_seen=rfc3339(instance.last_seen_at)))
    elif instance.state == "degraded" and instance.told != "degraded":
        instance.told = "degraded"
        news.append(AgentDegraded(**about, reported=instance.health or "degraded", at=rfc3339(now)))
    elif instance.state == "healthy" and instance.told is not None:
        if instance.told != "succeeded":
            news.append(AgentRecovered(**about, was=instance.told, at=rfc3339(now)))
        instance.told = None
    since = instance.unaccounted_since
    if since is not None and instance.unaccounted_told_at is None and now - since >= UNACCOUNTED_FOR:
        instance.unaccounted_told_at = now
        news.append(AgentUnaccounted(**about, items=unaccounted_in(instance), since=rfc3339(since)))
    instance.told_seq += len(news)
    return news
