"""Documents that other parties publish, fetched under the egress rules and kept: metadata and key sets.

Fresh for an hour; an unexpected need for a newer one asks again once a minute at most, in one flight for everybody;
while the party is away, the last good one serves for a day.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.outbound import Outbound, Unreachable

FRESH_SECONDS: Final = 3600.0
LAST_GOOD_SECONDS: Final = 24 * 3600.0
AGAIN_SECONDS: Final = 60.0
NEVER_HAD_SECONDS: Final = 2.0  # how soon to ask again a party that has never answered
FETCH_SECONDS: Final = 5.0
DOCUMENT_BYTES: Final = 256 << 10
DOCUMENTS: Final = 1000
_OK: Final = 200
T = TypeVar("T")


class NotPublished(Exception):  # noqa: N818 - an outcome, which the caller weighs
    """There is no usable document; the text says why, without what a name resolved to."""


class UrlRefused(Problem):
    """The URL is not one that this server may read from; ``rule`` says which rule it breaks."""

    status, code, title = 422, "url_refused", "URL refused"
    remediation = (
        "Give an https URL with a public host name; GUARDHOUSE_EGRESS_ALLOW opens networks of the house."
    )


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T | None = None
    good_at: float = float("-inf")
    tried_at: float = float("-inf")
    failure: str = ""
    flight: asyncio.Task[None] | None = field(default=None, repr=False)


class Published(Generic[T]):
    """Documents of one kind by URL; ``parse`` turns JSON into the document and raises ValueError with a reason."""

    def __init__(self, outbound: Outbound, clock: Clock, parse: Callable[[Any], T]) -> None:
        self._outbound = outbound
        self._clock = clock
        self._parse = parse
        self._entries: dict[str, _Entry[T]] = {}

    async def get(self, url: str, *, enough: Callable[[T], bool] = lambda _: True) -> T:
        """Return the document at a URL; one that is not ``enough`` (lacks a key) is a reason to look again.

        Raises:
            NotPublished: none was ever had, or the last good one is over a day old.
        """
        entry = self._entries.get(url)
        if entry is None:
            if len(self._entries) >= DOCUMENTS:
                self._entries.pop(next(iter(self._entries)))
            entry = self._entries[url] = _Entry()
        now = self._now()
        fresh = 0 <= now - entry.good_at < FRESH_SECONDS
        if entry.value is None or not fresh or not enough(entry.value):
            await self._look_again(url, entry, now)
        if entry.value is None or now - entry.good_at > LAST_GOOD_SECONDS:
            raise NotPublished(entry.failure)
        return entry.value

    async def fetch(self, url: str) -> T:
        """Return the document as it is now, whatever is kept.

        Raises:
            NotPublished: it cannot be had, or is not what it should be.
        """
        try:
            answer = await self._outbound.send(
                "GET",
                url,
                headers={"Accept": "application/json"},
                timeout_seconds=FETCH_SECONDS,
                max_bytes=DOCUMENT_BYTES,
            )
        except EgressRefused as refused:
            raise NotPublished(f"{url} may not be read: {refused}") from None
        except Unreachable as unreachable:
            raise NotPublished(f"{url} does not answer: {unreachable}") from None
        if answer.status != _OK or answer.cut:
            raise NotPublished(f"{url} answers {'too much' if answer.cut else answer.status}.")
        try:
            return self._parse(json.loads(answer.body))
        except RecursionError:
            raise NotPublished(f"{url} is nested too deeply.") from None
        except ValueError as error:
            raise NotPublished(f"{url} is not what it should be: {error}.") from None

    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def _look_again(self, url: str, entry: _Entry[T], now: float) -> None:
        if entry.flight is None:
            pause = NEVER_HAD_SECONDS if entry.value is None else AGAIN_SECONDS
            if 0 <= now - entry.tried_at < pause:
                return
            entry.tried_at = now
            entry.flight = asyncio.create_task(self._refresh(url, entry))
        await asyncio.shield(entry.flight)

    async def _refresh(self, url: str, entry: _Entry[T]) -> None:
        try:
            entry.value = await self.fetch(url)
            entry.good_at = self._now()
        except NotPublished as failure:
            entry.failure = str(failure)
        finally:
            entry.flight = None


def check_url(outbound: Outbound, url: str, pointer: str) -> None:
    """Judge a URL that somebody registers by its text alone.

    Raises:
        UrlRefused: against the egress rules.
    """
    try:
        outbound.check(url)
    except EgressRefused as refused:
        raise UrlRefused(
            str(refused),
            rule=refused.rule,
            errors=[{"pointer": pointer, "code": refused.rule, "detail": str(refused)}],
        ) from None
