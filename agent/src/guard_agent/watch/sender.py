"""Carry sealed batches to the server: signed anew on each try, one in flight, until a 207 names every event.

A batch leaves the disk only by `Outbox.settle`. Waiting doubles from 1 s to 5 min with full jitter;
`Retry-After` is obeyed; what a person has to put right is said once and tried again every 5 min, because it
may have been.
"""

import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from guard_agent import watch
from guard_agent.watch.answer import (
    SKEW_TOLD_FROM_SECONDS,
    Named,
    OtherCoding,
    OtherKey,
    Refused,
    TooLarge,
    TryAgain,
    Verdict,
    clock_skew_seconds,
    judge,
)
from guard_agent.watch.door import Door, UnreachableError
from guard_agent.watch.outbox import BATCH_EVENTS, Batch, Outbox
from guard_agent.watch.sign import AgentKey, Moment, content_digest, sign

EVENTS_PATH: Final = "/api/v1/events"
FLUSH_SECONDS: Final = 1.0
REQUEST_SECONDS: Final = 30.0
FIRST_WAIT_SECONDS: Final = 1.0
LAST_WAIT_SECONDS: Final = 300.0
SIGNATURE_SECONDS: Final = 300
LAST_TRY_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05

Say = Callable[[str], None]


@dataclass(slots=True)
class Totals:
    """What this sender delivered since it was made."""

    batches: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one try came to: events `sent`, or `seconds` to wait; `blocked` says what a person must do.

    `told` is True when the server named the wait: then it is kept even when the agent is about to end.
    """

    sent: int = 0
    seconds: float = 0.0
    blocked: str | None = None
    told: bool = False


class Sender:
    """Sends one spool's batches. `step` is one try, `run` the loop of a thread until `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        door: Door,
        key: AgentKey,
        say: Say,
        *,
        chance: random.Random | None = None,
    ) -> None:
        self._outbox, self._door, self._key, self._say = outbox, door, key, say
        self._chance = chance or random.Random()  # noqa: S311 -- jitter, not a secret
        self._failures = 0
        self._told: str | None = None
        self._skew_told = False
        self._stop = threading.Event()
        self._drain_until: float | None = None
        self.totals = Totals()
        self.skew_seconds: float | None = None
        self.blocked: str | None = None

    def step(self, timeout_seconds: float = REQUEST_SECONDS) -> Step:
        """Send the oldest batch once; return what came of it."""
        batch = self._outbox.next_batch()
        if batch is None:
            return Step()
        verdict = self._post(batch, timeout_seconds)
        if isinstance(verdict, Named):
            return self._delivered(batch, verdict)
        if isinstance(verdict, TryAgain):
            return self._failed(verdict)
        return self._changed(batch, verdict)

    def run(self) -> None:
        """Send until `stop`, then until nothing is left or the deadline of the drain has passed."""
        synced_at = flushed_at = time.monotonic()
        while True:
            now = time.monotonic()
            draining = self._stop.is_set()
            waiting = self._outbox.spool.waiting
            if draining and (not waiting or now >= (self._drain_until or now) or self.blocked):
                return
            if now - synced_at >= FLUSH_SECONDS:
                self._outbox.spool.sync()
                synced_at = now
            if waiting >= BATCH_EVENTS or (waiting and (draining or now - flushed_at >= FLUSH_SECONDS)):
                step = self.step(self._timeout(now))
                flushed_at = time.monotonic()
                if step.seconds:
                    self._pause(step)
            else:
                self._stop.wait(_POLL_SECONDS)

    def stop(self, drain_seconds: float) -> None:
        """Ask `run` to send what is left for at most `drain_seconds` and to return."""
        self._drain_until = time.monotonic() + drain_seconds
        self._stop.set()

    def close(self) -> None:
        """Close the connection; call it when no thread is in `run`."""
        self._door.close()

    def _timeout(self, now: float) -> float:
        until = self._drain_until
        return REQUEST_SECONDS if until is None else min(REQUEST_SECONDS, max(0.1, until - now))

    def _pause(self, step: Step) -> None:
        """Wait before the next try; a stop cuts the wait short, but not one that the server named."""
        end = time.monotonic() + step.seconds
        while (left := end - time.monotonic()) > 0 and not self._stop.is_set():
            self._outbox.spool.sync()
            self._stop.wait(min(left, FLUSH_SECONDS))
        if self._stop.is_set() and left > 0:
            until = (self._drain_until or 0.0) - time.monotonic()
            time.sleep(max(0.0, min(left if step.told else LAST_TRY_SECONDS, left, until)))

    def _post(self, batch: Batch, timeout_seconds: float) -> Verdict:
        again = self._door.is_open
        try:
            return self._post_once(batch, timeout_seconds)
        except UnreachableError as error:
            if not again:
                return TryAgain(f"cannot reach {self._door.url}: {error}")
        try:  # the kept connection may just have been closed by the server: that is no failure of the server
            return self._post_once(batch, timeout_seconds)
        except UnreachableError as error:
            return TryAgain(f"cannot reach {self._door.url}: {error}")

    def _post_once(self, batch: Batch, timeout_seconds: float) -> Verdict:
        now = time.time()
        headers = {
            "content-type": "application/json",
            "content-digest": content_digest(batch.body),
            "idempotency-key": batch.key,
            "guardhouse-family": "host",
            "prefer": "return=minimal",
            "user-agent": f"guardhouse-agent/{watch.__version__}",
        }
        if batch.coding != "identity":
            headers["content-encoding"] = batch.coding
        moment = Moment(int(now), secrets.token_urlsafe(24), int(now) + SIGNATURE_SECONDS)
        headers |= sign(self._door.url + EVENTS_PATH, headers, self._key, moment)
        answer = self._door.request("POST", EVENTS_PATH, headers, batch.body, timeout_seconds=timeout_seconds)
        received = time.time()
        skew = clock_skew_seconds(answer, received)
        if skew is not None:
            self._learn_skew(skew)
        return judge(answer, batch.count, now=received)

    def _learn_skew(self, skew: float) -> None:
        self.skew_seconds = skew
        if abs(skew) >= SKEW_TOLD_FROM_SECONDS and not self._skew_told:
            self._skew_told = True
            self._say(
                f"the server's clock is {skew:+.0f} s off ours; event times are sent as this machine has them"
            )

    def _delivered(self, batch: Batch, named: Named) -> Step:
        self._outbox.settle(batch, named.stored + named.duplicates, named.refused)
        totals = self.totals
        totals.batches += 1
        totals.stored += named.stored
        totals.duplicates += named.duplicates
        for code, count in named.refused.items():
            if code not in totals.refused:
                example = f" (for example: {named.example})" if named.example else ""
                self._say(f"the server refused {count} events with {code}{example}; they are not sent again")
            totals.refused[code] = totals.refused.get(code, 0) + count
        if self._told is not None:
            self._say(f"{self._door.url} takes events again")
        self._failures, self._told, self.blocked = 0, None, None
        return Step(sent=batch.count)

    def _failed(self, verdict: TryAgain) -> Step:
        ceiling = min(LAST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        seconds = self._chance.uniform(0.0, ceiling)
        if verdict.after_seconds is not None:
            seconds = max(verdict.after_seconds, seconds if verdict.after_seconds == 0 else 0.0)
        self._tell(f"{verdict.reason}; {self._outbox.spool.waiting} events wait on disk and are tried again")
        return Step(seconds=max(seconds, 0.01), told=bool(verdict.after_seconds))

    def _changed(self, batch: Batch, verdict: Verdict) -> Step:
        if isinstance(verdict, OtherKey):
            self._outbox.rename(batch)
            return Step(seconds=0.01)
        if isinstance(verdict, TooLarge):
            if not self._outbox.split(batch):
                self._delivered(batch, Named(0, 0, {"body_too_large": batch.count}))
            return Step(seconds=0.01)
        if isinstance(verdict, OtherCoding) and self._outbox.recode(batch):
            return Step(seconds=0.01)
        reason = verdict.reason if isinstance(verdict, Refused) else "the server takes no coding that we have"
        self.blocked = reason
        self._tell(f"{reason}; {self._outbox.spool.waiting} events stay on disk")
        return Step(seconds=LAST_WAIT_SECONDS, blocked=reason)

    def _tell(self, text: str) -> None:
        kind = text.split(";", 1)[0]
        if kind != self._told:
            self._told = kind
            self._say(text)
