"""Takes items out of the inbox, a few at a time, and brings them to where they are kept and sealed.

Invariant: an item that leaves the inbox is gathered for a batch or counted; the interpreter is handed back after 16
items or 200 µs, so that no loop of the application waits longer for it.
"""

import asyncio
import json
import random
import time
from collections import deque
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from guard_agent._pipeline.classes import LANE_OF, METRIC, NOISE, SENT_FIRST
from guard_agent._pipeline.inbox import Inbox
from guard_agent._pipeline.keeper import Keeper
from guard_agent._pipeline.ledger import Ledger
from guard_agent._pipeline.merge_metrics import MetricMerger
from guard_agent._pipeline.merge_noise import NoiseMerger
from guard_agent._pipeline.redact import Redactor
from guard_agent._pipeline.report_error import ErrorReporter
from guard_agent._pipeline.seal import Sealer
from guard_agent._pipeline.serialise import Item, as_model, serialise
from guard_agent.config import AgentConfig
from guard_agent.models import SecurityEvent, SecurityMetric

MERGED_SECONDS: Final = 10.0
_SLICE_ITEMS: Final = 16
_SLICE_SECONDS: Final = 200e-6
_NAP_SECONDS: Final = 50e-6


class Intake:
    """Serialises, writes and gathers what the application captured."""

    def __init__(
        self,
        config: AgentConfig,
        inbox: Inbox,
        ledger: Ledger,
        keeper: Keeper,
        sealer: Sealer,
        errors: ErrorReporter,
    ) -> None:
        self.config = config
        self.ready: deque[tuple[str, bytes, str, int]] = deque()
        """Items that a caller's thread has written itself: class, JSON, place, number."""
        self._inbox = inbox
        self._ledger = ledger
        self._keeper = keeper
        self._sealer = sealer
        self._errors = errors
        self._redactor = Redactor(config.sensitive_headers, config.max_payload_size)
        self._noise = NoiseMerger()
        self._metrics = MetricMerger()
        self._merging_since = 0.0
        self._chance = random.Random()  # noqa: S311 - sampling, no secret

    async def pump(self) -> None:
        """Empty the inbox, attack class first, and seal what is due; let the loop and the application in between."""
        while self._slice():
            await asyncio.sleep(0)
            time.sleep(_NAP_SECONDS)  # noqa: ASYNC251 - the interpreter, not the loop, is to be handed over
        self.seal_due(time.monotonic())

    def seal_due(self, now: float, *, everything: bool = False) -> float | None:
        """Seal what has lingered long enough; returns the seconds until more is due."""
        while self.ready:
            kind, body, place, number = self.ready.popleft()
            self._gather(kind, body, place, number, now)
        merged = self._flush_merged(now, everything=everything)
        kinds, wait = self._sealer.due(now, self._keeper.resting_lanes(now))
        for kind in self._sealer.kinds() if everything else kinds:
            self._keeper.keep(self._sealer.seal(kind, now))
        return merged if wait is None else wait if merged is None else min(wait, merged)

    def write_now(self, kind: str, item: Any, *, sync: bool) -> None:
        """Serialise and write one item in the caller's thread, before the call that captured it returns."""
        lane = LANE_OF[kind]
        done = self._prepare(kind, item)
        if isinstance(done, str):
            self._ledger.refuse(lane, done)
            return
        place, number = self._keeper.keep_item(kind, done, sync=sync)
        self._ledger.keep(lane, place)
        self.ready.append((kind, done.body, place, number))

    def empty_inbox(self) -> None:
        """Write what the inbox holds in the calling thread: a signal handler that cannot wait for the worker's turn."""
        for kind in SENT_FIRST:
            for item in self._inbox.take(kind, len(self._inbox.queues[kind])):
                lane, done = LANE_OF[kind], self._prepare(kind, item)
                if isinstance(done, str):
                    self._ledger.move(lane, "memory", done, 1)
                    continue
                place, number = self._keeper.keep_item(kind, done)
                if place != "memory":
                    self._ledger.move(lane, "memory", place, 1)
                self.ready.append((kind, done.body, place, number))

    def _slice(self) -> bool:
        """Take one slice; tells whether there was something."""
        begun = time.monotonic()
        for kind in SENT_FIRST:
            items = self._inbox.take(kind, _SLICE_ITEMS)
            if not items:
                continue
            for number, item in enumerate(items):
                self._take(kind, item, begun)
                if time.monotonic() - begun > _SLICE_SECONDS and number + 1 < len(items):
                    time.sleep(_NAP_SECONDS)
                    begun = time.monotonic()
            return True
        return False

    def _take(self, kind: str, item: Any, now: float) -> None:
        model = self._model(kind, item)
        if isinstance(model, BaseModel) and self._merge(kind, model, now):
            return
        self._store(kind, model if isinstance(model, str) else self._serialised(model), now)

    def _store(self, kind: str, done: Item | str, now: float) -> None:
        """Keep an item that is pending in memory, or count why it is dropped."""
        lane = LANE_OF[kind]
        if isinstance(done, str):
            self._ledger.move(lane, "memory", done, 1)
            return
        place, number = self._keeper.keep_item(kind, done)
        if place != "memory":
            self._ledger.move(lane, "memory", place, 1)
        self._gather(kind, done.body, place, number, now)

    def _merge(self, kind: str, model: BaseModel, now: float) -> bool:
        """Hold a noise event or a metric back to be merged, where that is wanted; tells whether it was taken."""
        config, native = self.config, self._sealer.account.native
        taken: bool | None = None
        if kind == NOISE and isinstance(model, SecurityEvent):
            if config.noise == "aggregate" or (config.noise == "auto" and native):
                taken = self._noise.add(model)
        elif isinstance(model, SecurityMetric) and (
            config.aggregate_metrics is True or (config.aggregate_metrics == "auto" and native)
        ):
            taken = self._metrics.add(model)
        if taken is None:
            return False
        if taken:
            self._ledger.move(LANE_OF[kind], "memory", "merged", 1)
        self._merging_since = self._merging_since or now
        return True

    def _flush_merged(self, now: float, *, everything: bool) -> float | None:
        """Store what was merged for long enough; returns the seconds until the next time."""
        if not len(self._noise) and not len(self._metrics):
            return None
        rest = self._merging_since + min(MERGED_SECONDS, self.config.flush_interval) - now
        if rest > 0 and not everything and not self._sealer.hurried:
            return rest
        self._merging_since = 0.0
        for event in self._noise.take():
            self._store(NOISE, self._serialised(event), now)
        for metric in self._metrics.take():
            body = json.dumps(metric, separators=(",", ":")).encode("ascii")
            self._store(METRIC, Item(UUID(metric["idempotency_key"]).bytes, body), now)
        return None

    def _gather(self, kind: str, body: bytes, place: str, number: int, now: float) -> None:
        for batch in self._sealer.add(kind, body, place=place, last=number, now=now):
            self._keeper.keep(batch)

    def _prepare(self, kind: str, item: Any) -> Item | str:
        """Return the item serialised, or the reason why it is dropped."""
        model = self._model(kind, item)
        return model if isinstance(model, str) else self._serialised(model)

    def _serialised(self, model: BaseModel) -> Item | str:
        try:
            return serialise(model, self._redactor)
        except Exception as error:  # noqa: BLE001 - objects of the application may raise anything
            self._errors.tell("serialize", error)
            return "invalid"

    def _model(self, kind: str, item: Any) -> BaseModel | str:
        """Return the item as it is to be sent, or the reason why it is dropped."""
        try:
            model = as_model(item, SecurityMetric if kind == METRIC else SecurityEvent)
            if self._is_sampled_out(model):
                return "sampled"
            if self.config.before_send is not None:
                changed = self._changed(model)
                if changed is None:
                    return "before_send"
                model = changed
            return self._hashed(model) if self.config.hash_ips else model
        except Exception as error:  # noqa: BLE001 - objects of the application may raise anything
            self._errors.tell("serialize", error)
            return "invalid"

    def _is_sampled_out(self, item: BaseModel) -> bool:
        if not self.config.sample_rates:
            return False
        kind = getattr(item, "event_type", None) or getattr(item, "metric_type", "")
        rate = self.config.sample_rates.get(str(kind))
        return rate is not None and self._chance.random() >= rate

    def _changed(self, item: BaseModel) -> BaseModel | None:
        """Return what the application's hook makes of an item; one that fails, or returns no item, changes nothing."""
        hook = self.config.before_send
        try:
            changed = hook(item) if hook is not None else item
            return changed if changed is None else as_model(changed, type(item))
        except Exception as error:  # noqa: BLE001 - the application's own code
            self._errors.tell("serialize", error, hook="before_send")
            return item

    def _hashed(self, item: BaseModel) -> BaseModel:
        address = getattr(item, "ip_address", "")
        if not address:
            return item
        digest = hash_address(str(address), self.config.ip_hash_salt or "")
        return item.model_copy(update={"ip_address": digest})


def hash_address(address: str, salt: str) -> str:
    """Return the first 16 hex digits of SHA-256(address + salt)."""
    return sha256((address + salt).encode()).hexdigest()[:16]
