"""One lane to the server: which batch goes next, and when. Decides only; it sends nothing.

Attack batches go before the others of the lane. Each lane has its own breaker, pace and pauses, so trouble with one
does not touch another. Times are monotonic seconds.
"""

import random
from collections import deque
from collections.abc import Iterator
from typing import Final

from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.breaker import HALF_OPEN, Breaker
from guard_agent._pipeline.classes import LANE_OF, SENT_FIRST
from guard_agent._pipeline.pace import Pace

_LONGEST_DELAY: Final = 60.0
_DOOR_SECONDS: Final = 60.0
_FIRST_PAUSE: Final = 30.0
_LONGEST_PAUSE: Final = 300.0


class Lane:
    """The batches of one lane that wait to be sent."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.breaker = Breaker(chance)
        self.pace = Pace()
        self.trouble: str | None = None
        self.key_refused = False
        self.in_flight: Batch | None = None
        self.hurried = False
        self._chance = chance
        self._queues: dict[str, deque[Batch]] = {
            kind: deque() for kind in SENT_FIRST if LANE_OF.get(kind) == name
        }
        self._paused_until = 0.0
        self._pause = _FIRST_PAUSE

    def __iter__(self) -> Iterator[Batch]:
        for queue in self._queues.values():
            yield from queue

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def offer(self, batch: Batch, *, first: bool = False) -> None:
        """Take a batch, behind the others of its class or before them."""
        queue = self._queues[batch.kind]
        if first:
            queue.appendleft(batch)
        else:
            queue.append(batch)

    def remove(self, batch: Batch) -> None:
        """Forget a waiting batch."""
        self._queues[batch.kind].remove(batch)

    def oldest(self, kind: str) -> Batch | None:
        """Return the batch of a class that has waited longest."""
        queue = self._queues.get(kind)
        return min(queue, key=lambda batch: batch.last) if queue else None

    def choose(self, now: float) -> tuple[Batch | None, float | None]:
        """Take the next batch out, or return the seconds until there may be one (None: nothing waits)."""
        if not len(self):
            return None, None
        wait = self.wait(now)
        if wait > 0:
            return None, wait
        if self.breaker.state == HALF_OPEN:
            batch = min(self, key=lambda item: item.size)
            self.remove(batch)
            return batch, None
        soonest: float | None = None
        for queue in self._queues.values():
            for batch in queue:
                if batch.due <= now or self.hurried:
                    queue.remove(batch)
                    return batch, None
                soonest = batch.due - now if soonest is None else min(soonest, batch.due - now)
        return None, soonest

    def wait(self, now: float) -> float:
        """Return the seconds for which nothing at all may be sent."""
        pace = 0.0 if self.hurried else self.pace.wait(now)
        return max(self._paused_until - now, self.breaker.wait(now), pace, 0.0)

    def retry(self, batch: Batch, now: float, *, factor: float, quick_tries: int) -> None:
        """Take back a batch that failed: again soon, then behind all others of its class."""
        batch.tries += 1
        batch.due = now + self.delay(batch.tries, factor)
        self.offer(batch, first=batch.tries % (quick_tries + 1) != 0)

    def delay(self, tries: int, factor: float) -> float:
        """Return a random delay (full jitter) after so many failures."""
        return self._chance.uniform(0.0, min(_LONGEST_DELAY, factor * 2.0 ** min(tries, 16)))

    def succeed(self, now: float) -> None:
        """Note an answer that shows the server at work and the key accepted."""
        self.breaker.succeed()
        self.pace.clean(now)
        self.trouble, self.key_refused, self._pause = None, False, _FIRST_PAUSE

    def fail(self, now: float, detail: str, *, slow_down: bool) -> None:
        """Note a failure that may pass."""
        self.trouble = detail
        self.breaker.fail(now)
        if slow_down:
            self.pace.slow_down()

    def refuse_key(self, now: float, detail: str) -> None:
        """Pause: the credentials are not accepted; longer each time, up to five minutes."""
        self.trouble, self.key_refused = detail, True
        self._paused_until = now + self._pause
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    def close_door(self, now: float, detail: str, location: str | None) -> None:
        """Pause for a minute: what answers is not the endpoint of this lane."""
        self.trouble = f"{detail}, and offered {location}" if location else detail
        self._paused_until = now + _DOOR_SECONDS

    def hold(self, now: float, seconds: float, detail: str) -> None:
        """Wait as long as the server asked for."""
        self.trouble = detail
        self.pace.slow_down()
        self._paused_until = max(self._paused_until, now + seconds)

    def resume(self) -> None:
        """Try again at once: the settings have changed."""
        self._paused_until, self._pause, self.key_refused = 0.0, _FIRST_PAUSE, False
        self.breaker.succeed()
        for batch in self:
            batch.due = 0.0
