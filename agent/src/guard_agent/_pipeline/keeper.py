"""Where items and sealed batches are kept until they are delivered, within hard bounds: on disk, else in memory.

Invariant: bytes in memory stay below `max_memory_bytes` and those on disk below `spool_max_bytes`; what does not fit
any more is dropped, oldest first, from the class that gives way first, and counted.
"""

import time
from pathlib import Path
from typing import Final

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.adopt import Estate, adopt_spools
from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.classes import GIVES_WAY_FIRST, LANE_OF
from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.ledger import LANES
from guard_agent._pipeline.redis_store import RedisStore
from guard_agent._pipeline.report_error import ErrorReporter
from guard_agent._pipeline.serialise import Item
from guard_agent._pipeline.spool import Spool
from guard_agent._pipeline.state_dir import find_state_dir, spool_root
from guard_agent.config import AgentConfig
from guard_agent.encryption import PayloadEncryptor
from guard_agent.watch.stream import SpoolBusyError

RETRY_SECONDS: Final = 30.0
_READ_AHEAD_BYTES: Final = 1 << 20
_REST_SECONDS: Final = 1.0


class Keeper:
    """Keeps what one instance, and those it is the heir of, still have to deliver. Used by the worker's thread.

    `keep_item` alone may be called from any thread.
    """

    def __init__(
        self,
        config: AgentConfig,
        account: Account,
        lanes: dict[str, Lane],
        encryptor: PayloadEncryptor | None,
        errors: ErrorReporter,
    ) -> None:
        self.config = config
        self.spool: Spool | None = None
        self.estates: list[Estate] = []
        self.redis: RedisStore | None = None
        self._account = account
        self._lanes = lanes
        self._encryptor = encryptor
        self._errors = errors
        self._root: Path | None = None
        self._rests_until = 0.0
        self._failed = False
        self.memory_bytes = 0
        self._held = dict.fromkeys(lanes, 0)

    @property
    def wants_disk(self) -> bool:
        """Tell whether the settings ask for a spool."""
        return self.config.durability in ("auto", "disk", "strict")

    @property
    def durability(self) -> str:
        """Return where items are kept now."""
        if self.spool is not None and not self._failed:
            return "disk"
        return "redis" if self.redis is not None and self.redis.works else "memory"

    def open(self, now: float) -> None:
        """Open the spool where one is wanted and can be had; memory serves until it can."""
        if not self.wants_disk or self.spool is not None:
            return
        self._rests_until = now + RETRY_SECONDS
        state_dir = find_state_dir(self.config)
        if state_dir is None:
            self._errors.log(
                "The agent finds no folder to write to: what it has not sent is kept in memory only"
            )
            self._errors.tell("spool", OSError("no state folder can be written"))
            return
        self._root = spool_root(state_dir, self.config)
        try:
            self.spool = Spool(self._root / self._account.instance, self._account, self._encryptor)
            self._failed = False
        except (OSError, SpoolBusyError) as error:
            self._fail(error, now)

    def adopt(self) -> None:
        """Take over what dead instances left."""
        if self._root is None:
            return
        own = {self._account.instance, *(estate.spool.folder.name for estate in self.estates)}
        for estate in adopt_spools(self._root, own, self.config, self._encryptor):
            self.estates.append(estate)
            for batch in estate.batches:
                self._lanes[batch.lane].offer(batch)
                self._weigh(batch)

    def keep_item(self, kind: str, item: Item, *, sync: bool = False) -> tuple[str, int]:
        """Write an item to the spool; returns its place and number (0 in memory)."""
        spool = self.spool
        if spool is None or self._failed:
            return "memory", 0
        try:
            return "spool", spool.append(kind, item, sync=sync or self.config.spool_fsync == "always")
        except OSError as error:
            self._fail(error, time.monotonic())
            return "memory", 0

    def keep(self, batch: Batch) -> None:
        """Keep a sealed batch and hand it to its lane."""
        self.write(batch)
        self._lanes[batch.lane].offer(batch)
        self.shed(batch)

    def write(self, batch: Batch) -> None:
        """Put a batch on disk, where there is one; else it stays in memory."""
        spool = self.spool_of(batch)
        if spool is not None and not self._failed:
            try:
                spool.write_batch(batch)
            except OSError as error:
                self._fail(error, time.monotonic())
        if spool is not None and batch.path is not None:
            self._place(batch, "spool")
            spool.save()
            if self._held[batch.lane] > _READ_AHEAD_BYTES:
                batch.body = None
        else:
            self._place(batch, "memory")
            if self.redis is not None:
                self.redis.offer(batch)
        self._weigh(batch)

    def load(self, batch: Batch) -> bytes | None:
        """Return the body of a batch; None, and the items counted as corrupt, where its file does not hold it."""
        if batch.body is not None:
            return batch.body
        spool = self.spool_of(batch)
        return None if spool is None else spool.read_batch(batch)

    def forget(self, batch: Batch) -> None:
        """Let go of a batch whose items are accounted for."""
        batch.body = None
        self._weigh(batch, gone=True)
        if batch.remote and self.redis is not None:
            self.redis.forget(batch)
        spool = self.spool_of(batch)
        if spool is not None:
            spool.forget(batch)

    def replace(self, batch: Batch, parts: list[Batch], now: float) -> None:
        """Keep `parts`, which hold the same items, in the place of a batch that is in flight."""
        for part in parts:
            part.born, part.place, part.weight, part.held = now, "in_flight", 0, 0
            self.write(part)
        self.forget(batch)
        for part in reversed(parts):
            self._lanes[part.lane].offer(part, first=True)

    def resting_lanes(self, now: float) -> list[str]:
        """Return the lanes that will not send anything for a while."""
        return [lane.name for lane in self._lanes.values() if lane.wait(now) > _REST_SECONDS]

    def spool_of(self, batch: Batch) -> Spool | None:
        """Return the folder in which a batch stands or would stand."""
        for estate in self.estates:
            if estate.spool.account is batch.account:
                return estate.spool
        return self.spool if batch.account is self._account else None

    def take_in(self, batches: list[Batch]) -> None:
        """Take over batches that came through Redis."""
        for batch in batches:
            self._lanes[batch.lane].offer(batch)
            self._weigh(batch)

    def shed(self, newest: Batch | None = None) -> None:
        """Drop batches until the bounds hold; `newest` goes last."""
        while self.memory_bytes > self.config.max_memory_bytes and self._drop("memory", "overflow", newest):
            pass
        while self.disk_bytes > self.config.spool_max_bytes and self._drop("spool", "spool_evicted", newest):
            pass

    def expire(self, now: float, wall: float) -> None:
        """Drop batches older than `spool_max_age`."""
        for lane in self._lanes.values():
            for batch in list(lane):
                age = now - batch.born
                if batch.account is not self._account:
                    age = max(age, wall - batch.sealed_at)
                if age > self.config.spool_max_age:
                    self._let_go(batch, "expired")

    def tend(self, now: float) -> None:
        """Try a failed disk again, and bring on it what is in memory only."""
        if now < self._rests_until or not self.wants_disk or self.durability == "disk":
            return
        self._failed = False
        self.open(now)
        for batch in [batch for lane in self._lanes.values() for batch in lane if batch.place == "memory"]:
            if self.durability != "disk":
                return
            self.write(batch)

    @property
    def disk_bytes(self) -> int:
        """What the spools take on disk."""
        spools = [estate.spool for estate in self.estates] + ([self.spool] if self.spool else [])
        return sum(spool.used for spool in spools)

    def finished_estates(self) -> list[Estate]:
        """Return what is left of dead instances whose last batch has an outcome."""
        return [
            estate
            for estate in self.estates
            if not any(estate.spool.account.ledger.pending(lane) for lane in LANES)
        ]

    def release(self, estate: Estate) -> None:
        """Remove the folder of a dead instance whose ledger is closed."""
        self.estates.remove(estate)
        estate.spool.close(remove=True)

    def close(self) -> None:
        """Give up all folders; those in which nothing is left are removed."""
        for estate in self.estates:
            estate.spool.close()
        self.estates.clear()
        if self.spool is not None:
            left = any(self._account.ledger.pending(lane) for lane in LANES)
            self.spool.close(remove=not left)
            self.spool = None

    def abandon(self) -> None:
        """Close the files of all folders in the child of a fork; the parent goes on with them."""
        for spool in [estate.spool for estate in self.estates] + ([self.spool] if self.spool else []):
            spool.abandon()

    def _place(self, batch: Batch, place: str) -> None:
        if batch.place != place:
            batch.account.ledger.move(batch.lane, batch.place, place, batch.count)
            batch.place = place

    def _weigh(self, batch: Batch, *, gone: bool = False) -> None:
        weight = 0 if gone else batch.memory_bytes
        held = 0 if gone or batch.body is None else len(batch.body)
        self.memory_bytes += weight - batch.weight
        self._held[batch.lane] += held - batch.held
        batch.weight, batch.held = weight, held

    def _drop(self, place: str, reason: str, newest: Batch | None) -> bool:
        for kind in GIVES_WAY_FIRST:
            for batch in self._lanes[LANE_OF[kind]]:
                if batch.kind == kind and self._is_in(batch, place) and batch is not newest:
                    self._let_go(batch, reason)
                    self._errors.tell(
                        "overflow", OverflowError(f"{batch.count} items were dropped: {reason}")
                    )
                    return True
        if newest is not None and self._is_in(newest, place):
            self._let_go(newest, reason)
            return True
        return False

    @staticmethod
    def _is_in(batch: Batch, place: str) -> bool:
        """Tell whether a batch takes room there; one in Redis takes it in memory too."""
        return batch.place == place or (place == "memory" and batch.place == "redis")

    def _let_go(self, batch: Batch, reason: str) -> None:
        self._lanes[batch.lane].remove(batch)
        batch.account.ledger.move(batch.lane, batch.place, reason, batch.count)
        self.forget(batch)

    def _fail(self, error: BaseException, now: float) -> None:
        """Fall back to memory; the disk is tried again later."""
        self._errors.log(f"The agent's spool cannot be written ({error}): memory serves until it can")
        self._errors.tell("spool", error)
        self._failed = True
        self._rests_until = now + RETRY_SECONDS
