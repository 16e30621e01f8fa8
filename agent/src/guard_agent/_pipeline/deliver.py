"""Sends the batches of one lane, one after another, and does with each what its answer means."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Final

from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.keeper import Keeper
from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.quarantine import Quarantine
from guard_agent._pipeline.read_answer import (
    Conflict,
    Delivered,
    KeyRefused,
    NoSuchDoor,
    Refused,
    Reply,
    Transient,
    Verdict,
    Wait,
    rate_limit,
    read_answer,
)
from guard_agent._pipeline.report_error import ErrorReporter
from guard_agent._pipeline.seal import Sealer
from guard_agent._pipeline.send import Sender, UnreachableError
from guard_agent._pipeline.split_batch import read_items, reseal, split_batch
from guard_agent.config import AgentConfig
from guard_agent.encryption import EncryptionError, PayloadEncryptor

_KEY_LOG_SECONDS: Final = 300.0
_GROWN_EVERY: Final = 100
_SMALLEST_BODY: Final = 1024
_PATHS: Final = {"events": "/api/v1/events", "metrics": "/api/v1/metrics"}
_ENCRYPTED_PATH: Final = "/api/v1/events/encrypted"


class Deliverer:
    """Delivers what the lanes hold. Used on the worker's loop; `quit` tells it to take nothing new."""

    def __init__(
        self,
        config: AgentConfig,
        sender: Sender,
        keeper: Keeper,
        sealer: Sealer,
        errors: ErrorReporter,
        encryptor: PayloadEncryptor | None,
    ) -> None:
        self.config = config
        self.last_delivery: datetime | None = None
        self.delivered_at = 0.0
        self.recent: list[bool] = []
        self._sender = sender
        self._keeper = keeper
        self._sealer = sealer
        self._errors = errors
        self._encryptor = encryptor
        self.quarantine = Quarantine(keeper)
        self._since_growth = 0

    async def run(self, lane: Lane, wake: asyncio.Event) -> None:
        """Deliver a lane's batches for ever; `wake` is set when there is a new one."""
        while True:
            wake.clear()
            now = time.monotonic()
            batch, seconds = lane.choose(now)
            if batch is not None:
                await self.deliver(lane, batch)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wake.wait()

    async def deliver(self, lane: Lane, batch: Batch) -> None:
        """Send one batch and settle it, or put it back."""
        ledger, place = batch.account.ledger, batch.place
        body = self._keeper.load(batch)
        if body is None:
            ledger.move(batch.lane, place, "spool_corrupt", batch.count)
            self._keeper.forget(batch)
            return
        lane.in_flight = batch
        lane.pace.sent(time.monotonic())
        ledger.move(batch.lane, place, "in_flight", batch.count)
        batch.place = "in_flight"
        verdict: Verdict | None = None
        try:
            verdict = await self._ask(lane, batch, body)
        finally:
            lane.in_flight = None
            if verdict is None:  # the stop's deadline came first
                self._put_back(lane, batch, place)
        self._apply(lane, batch, body, place, verdict)

    async def _ask(self, lane: Lane, batch: Batch, body: bytes) -> Verdict:
        path = _ENCRYPTED_PATH if batch.encrypted else _PATHS[batch.lane]
        try:
            reply = await self._sender.post(
                path,
                body,
                instance=batch.account.instance,
                key=batch.id,
                timeout_seconds=float(self.config.timeout),
            )
        except UnreachableError as error:
            self._errors.tell("transport_send", error, lane=lane.name)
            return Transient(str(error), slow_down=error.timed_out)
        self._obey(lane, reply)
        return read_answer(reply, batch.count)

    def _apply(self, lane: Lane, batch: Batch, body: bytes, place: str, verdict: Verdict) -> None:
        now = time.monotonic()
        self._remember(worked=isinstance(verdict, (Delivered, Refused)))
        match verdict:
            case Delivered():
                lane.succeed(now)
                self._settle(batch, body, verdict)
            case Refused():
                lane.succeed(now)
                self._refused(batch, body, verdict, now)
            case KeyRefused(detail):
                lane.refuse_key(now, detail)
                self._errors.log(
                    f"The server refuses the agent's key ({detail}): data is kept", every=_KEY_LOG_SECONDS
                )
                self._put_back(lane, batch, place)
            case NoSuchDoor(detail, location):
                lane.close_door(now, detail, location)
                self._errors.log(f"The agent's endpoint answers {detail}: data is kept")
                self._put_back(lane, batch, place)
            case Wait(seconds, detail):
                lane.hold(now, seconds, detail)
                self._put_back(lane, batch, place)
            case Conflict() if not batch.resealed and self._replace(batch, body, now, (f"{batch.id}.r",)):
                lane.succeed(now)
            case Conflict(detail) | Transient(detail):
                slow = isinstance(verdict, Transient) and verdict.slow_down
                lane.fail(now, detail, slow_down=slow)
                self._move_back(batch, place)
                config = self.config
                lane.retry(batch, now, factor=config.backoff_factor, quick_tries=config.retry_attempts)

    def _settle(self, batch: Batch, body: bytes, outcome: Delivered) -> None:
        ledger = batch.account.ledger
        if outcome.rejections:
            self._set_aside(batch, body, outcome.rejections)
        rejected = len(outcome.rejections) + outcome.unlisted
        for name, count in (
            ("delivered", outcome.delivered),
            ("duplicates", outcome.duplicates),
            ("rejected", rejected),
        ):
            if count:
                ledger.move(batch.lane, "in_flight", name, count)
        self.last_delivery, self.delivered_at = datetime.now(UTC), time.monotonic()
        self._keeper.forget(batch)
        self._grow()

    def _refused(self, batch: Batch, body: bytes, verdict: Refused, now: float) -> None:
        if verdict.too_large and batch.count > 1:
            self._sealer.max_bytes = max(_SMALLEST_BODY, min(self._sealer.max_bytes, batch.size // 2))
        if batch.count > 1 and self._replace(batch, body, now, (f"{batch.id}.0", f"{batch.id}.1")):
            return
        self._set_aside(batch, body, [(index, verdict.code, verdict.detail) for index in range(batch.count)])
        batch.account.ledger.move(batch.lane, "in_flight", "rejected", batch.count)
        self._keeper.forget(batch)
        self._errors.tell(
            "quarantine", ValueError(f"the server refused {batch.count} item: {verdict.detail}")
        )

    def _replace(self, batch: Batch, body: bytes, now: float, names: tuple[str, ...]) -> bool:
        """Put two halves, or one batch of another id, in the place of a batch; False where it cannot be opened."""
        try:
            parts = (
                [reseal(batch, body, self._encryptor, names[0])]
                if len(names) == 1
                else list(split_batch(batch, body, self._encryptor))
            )
        except EncryptionError as error:
            self._errors.tell("encryption", error)
            return False
        self._keeper.replace(batch, parts, now)
        return True

    def _set_aside(self, batch: Batch, body: bytes, rejections: list[tuple[int, str, str]]) -> None:
        try:
            items = read_items(batch, body, self._encryptor)
        except EncryptionError as error:
            self._errors.tell("encryption", error)
            return
        for index, code, detail in rejections:
            self.quarantine.put(batch, items[index], code, detail)

    def _put_back(self, lane: Lane, batch: Batch, place: str) -> None:
        self._move_back(batch, place)
        lane.offer(batch, first=True)

    def _move_back(self, batch: Batch, place: str) -> None:
        if place == "memory" and batch.remote:  # the copy was finished while the batch was in flight
            place = "redis"
        batch.account.ledger.move(batch.lane, "in_flight", place, batch.count)
        batch.place = place

    def _obey(self, lane: Lane, reply: Reply) -> None:
        told = rate_limit(reply.headers)
        if told is not None:
            lane.pace.obey(time.monotonic(), *told)

    def _remember(self, *, worked: bool) -> None:
        self.recent = [*self.recent[-99:], worked]

    def _grow(self) -> None:
        """Let bodies grow again, a tenth per hundred batches, towards what is configured."""
        if self._sealer.max_bytes >= self.config.max_batch_bytes:
            return
        self._since_growth += 1
        if self._since_growth >= _GROWN_EVERY:
            self._since_growth = 0
            self._sealer.max_bytes = min(self.config.max_batch_bytes, self._sealer.max_bytes * 11 // 10)
