"""What one dispatcher holds in memory: its endpoints, what waits to be sent for each, and what may go now.

Whoever holds an endpoint's lane is alone in sending for it, so concurrency, pace, breaker and order are exact here.
Nothing in this file waits or writes; ``jobs`` drives it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.webhooks.condition import Condition, condition_of
from guardhouse.webhooks.delivery_store import Due, Want
from guardhouse.webhooks.pace import Pace
from guardhouse.webhooks.send import Destination
from guardhouse.webhooks.store import Endpoint

SENDS_AT_ONCE: Final = 1024
TENANT_AT_ONCE: Final = 256
Line = tuple[UUID, bool]  # the deliveries of an endpoint: its live ones, or (True) its replays
READ_AHEAD: Final = 4  # deliveries held per slot, so that a slot need not wait for the database


@dataclass(slots=True)
class Outlet:
    """One endpoint in the dispatcher's hands. ``held``: deliveries read and not yet recorded."""

    endpoint: Endpoint
    destination: Destination
    condition: Condition
    pace: Pace | None
    live: deque[Due] = field(default_factory=deque)
    bulk: deque[Due] = field(default_factory=deque)
    held: set[UUID] = field(default_factory=set)
    in_flight: int = 0
    bulk_in_flight: int = 0
    since: int = 0  # the reading before which this dispatcher began to send for it
    dirty: bool = False
    written: float = float("-inf")

    @property
    def bulk_limit(self) -> int:
        """How many replays may be under way: half of what may be."""
        return max(1, self.endpoint.concurrency // 2)

    def wants(self, now: datetime) -> Iterator[Want]:
        """Yield what there is room for."""
        if not self.condition.allows(now, self.in_flight):
            self._forget_queued()
            return
        if self.condition.breaker.state != "closed":
            if not self.live and not self.bulk:  # a probe, whichever comes first
                yield Want(self.endpoint.id, bulk=False, room=1)
                yield Want(self.endpoint.id, bulk=True, room=1)
            return
        for bulk, queue, busy, limit in (
            (False, self.live, self.in_flight - self.bulk_in_flight, self.endpoint.concurrency),
            (True, self.bulk, self.bulk_in_flight, self.bulk_limit),
        ):
            room = _room(limit, queue, busy)
            if room >= limit:  # several at a time, or each end of a send would cost a query
                yield Want(self.endpoint.id, bulk=bulk, room=room)

    def takes(self, made: Due, now: datetime) -> bool:
        """Tell whether a delivery that was just made may join the line as if it had been read."""
        if made.version != self.endpoint.version or self.condition.breaker.state != "closed":
            return False
        live = self.in_flight - self.bulk_in_flight
        return self.condition.allows(now, live) and _room(self.endpoint.concurrency, self.live, live) > 0

    def next_due(self, now: datetime) -> Due | None:
        """Take what is sent next, live ones first, or None when nothing may go."""
        if not self.live and not self.bulk:
            return None
        if self.in_flight >= self.endpoint.concurrency or not self.condition.allows(now, self.in_flight):
            return None
        if self.live:
            return self.live.popleft()
        return self.bulk.popleft() if self.bulk_in_flight < self.bulk_limit else None

    def _forget_queued(self) -> None:
        """Leave to the database what waits while nothing may go."""
        for queue in (self.live, self.bulk):
            self.held.difference_update(due.id for due in queue)
            queue.clear()


def _room(limit: int, queue: Sized, busy: int) -> int:
    return READ_AHEAD * limit - len(queue) - busy


@dataclass(slots=True)
class Board:
    """Every endpoint of the lanes held here."""

    outlets: dict[UUID, Outlet] = field(default_factory=dict)
    hot: set[Line] = field(default_factory=set)  # lines that may have more deliveries than are held
    sends: int = 0
    _lined: dict[UUID, Outlet] = field(default_factory=dict)  # those with something in line
    _by_tenant: dict[UUID, int] = field(default_factory=dict)
    _readings: int = 0
    _reading: set[int] = field(default_factory=set)
    _freed: deque[tuple[int, Outlet, UUID]] = field(default_factory=deque)

    # Readings: while one is under way, what was recorded meanwhile may still come back as pending from it

    def begin_reading(self) -> int:
        """Note that deliveries are going to be read or made; returns the number of the reading."""
        self._readings += 1
        self._reading.add(self._readings)
        return self._readings

    def end_reading(self, number: int) -> None:
        """Note that what was read is in line, and let go of what no reading can bring back any more."""
        self._reading.discard(number)
        earliest = min(self._reading, default=self._readings + 1)
        while self._freed and self._freed[0][0] < earliest:
            _, outlet, due = self._freed.popleft()
            outlet.held.discard(due)

    def let_go(self, outlet: Outlet, due: UUID) -> None:
        """Hold a recorded delivery no longer than readings that began before."""
        if self._reading:
            self._freed.append((self._readings, outlet, due))
        else:
            outlet.held.discard(due)

    # Endpoints

    def put(self, endpoint: Endpoint, destination: Destination) -> None:
        """Take an endpoint in, or its new settings; one whose condition was reset by hand starts afresh."""
        known = self.outlets.get(endpoint.id)
        pace = Pace(endpoint.rate_per_second) if endpoint.rate_per_second else None
        if known is None:
            self.outlets[endpoint.id] = Outlet(
                endpoint, destination, condition_of(endpoint), pace, since=self._readings
            )
        else:
            if known.pace is None or pace is None or known.pace.per_second != pace.per_second:
                known.pace = pace
            if endpoint.version != known.endpoint.version and endpoint.state == "active":
                known.condition = condition_of(endpoint)
            known.endpoint, known.destination = endpoint, destination
        self.look_at([endpoint.id])

    def keep_only(self, ids: Iterable[UUID]) -> None:
        """Let go of every endpoint that is not named; what it has under way ends by itself."""
        for gone in self.outlets.keys() - set(ids):
            del self.outlets[gone]
            self._lined.pop(gone, None)
            self.hot -= {(gone, False), (gone, True)}

    def wants(self, now: datetime) -> list[Want]:
        """Return what there is room for, of the lines that may have something; those without room stay so."""
        found = [
            want
            for hot in {endpoint for endpoint, _ in self.hot}
            if hot in self.outlets
            for want in self.outlets[hot].wants(now)
            if (hot, want.bulk) in self.hot
        ]
        self.hot -= {(want.endpoint_id, want.bulk) for want in found}
        return found

    def look_at(self, endpoints: Iterable[UUID]) -> None:
        """Note that endpoints may have more, of both kinds."""
        for found in endpoints:
            if found in self.outlets:
                self.hot |= {(found, False), (found, True)}

    def held(self, wants: Iterable[Want]) -> list[UUID]:
        """Return the deliveries in hand of the endpoints asked for."""
        return [
            due
            for endpoint in {want.endpoint_id for want in wants}
            if endpoint in self.outlets
            for due in self.outlets[endpoint].held
        ]

    def take(self, wants: Iterable[Want], found: Iterable[Due]) -> None:
        """Put what was read in line; a line that gave less than was asked for has no more for now."""
        got: dict[Line, int] = {}
        for due in found:
            outlet = self.outlets.get(due.endpoint_id)
            got[due.endpoint_id, due.bulk] = got.get((due.endpoint_id, due.bulk), 0) + 1
            if outlet is not None:
                self._line_up(outlet, due)
        for want in wants:
            line = (want.endpoint_id, want.bulk)
            if got.get(line, 0) >= want.room:
                self.hot.add(line)

    def take_made(self, number: int, made: Iterable[Due], now: datetime) -> None:
        """Put in line what was made during a reading, unless earlier ones of its endpoint are not read yet."""
        for due in made:
            outlet = self.outlets.get(due.endpoint_id)
            if outlet is None:
                continue
            if (
                (due.endpoint_id, due.bulk) not in self.hot
                and outlet.since < number
                and outlet.takes(due, now)
            ):
                self._line_up(outlet, due)
            else:
                self.hot.add((due.endpoint_id, due.bulk))

    def _line_up(self, outlet: Outlet, due: Due) -> None:
        if due.id not in outlet.held:
            outlet.held.add(due.id)
            (outlet.bulk if due.bulk else outlet.live).append(due)
            self._lined[due.endpoint_id] = outlet

    def starts(self, now: datetime, monotonic: float) -> tuple[list[tuple[Outlet, Due]], float | None]:
        """Return what goes now, and after how many seconds the pace of an endpoint lets something more go.

        Endpoints take turns, one delivery each, so that under the ceilings none waits for another's queue.
        """
        going: list[tuple[Outlet, Due]] = []
        soonest: float | None = None
        self._lined = {key: outlet for key, outlet in self._lined.items() if outlet.live or outlet.bulk}
        waiting = list(self._lined.values())
        while waiting and self.sends < SENDS_AT_ONCE:
            again = []
            for outlet in waiting:
                pause = 0.0 if outlet.pace is None else outlet.pace.wait_seconds(monotonic)
                if pause > 0:
                    soonest = pause if soonest is None else min(soonest, pause)
                elif self._has_room(outlet.endpoint.tenant_id):
                    due = outlet.next_due(now)
                    if due is not None:
                        self._begin(outlet, due, monotonic)
                        going.append((outlet, due))
                        again.append(outlet)
            waiting = again
        return going, soonest

    def end(self, outlet: Outlet, due: Due) -> None:
        """Note that a send is over; the delivery stays held until it is recorded."""
        self.sends -= 1
        self._by_tenant[due.tenant_id] -= 1
        if not self._by_tenant[due.tenant_id]:
            del self._by_tenant[due.tenant_id]
        outlet.in_flight -= 1
        outlet.bulk_in_flight -= due.bulk

    def _has_room(self, tenant_id: UUID) -> bool:
        return self.sends < SENDS_AT_ONCE and self._by_tenant.get(tenant_id, 0) < TENANT_AT_ONCE

    def _begin(self, outlet: Outlet, due: Due, monotonic: float) -> None:
        self.sends += 1
        self._by_tenant[due.tenant_id] = self._by_tenant.get(due.tenant_id, 0) + 1
        outlet.in_flight += 1
        outlet.bulk_in_flight += due.bulk
        if outlet.pace is not None:
            outlet.pace.take(monotonic)
