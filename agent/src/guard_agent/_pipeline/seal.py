"""Gathers serialised items per class and seals them into batches whose bytes never change again."""

import json
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.classes import ATTACK, LANE_OF, METRICS
from guard_agent._version import __version__
from guard_agent.config import AgentConfig
from guard_agent.encryption import PayloadEncryptor


@dataclass(slots=True)
class Gathering:
    """Items of one class that are not sealed yet; all of them stand in the same `place`."""

    place: str = "memory"
    items: list[bytes] = field(default_factory=list)
    size: int = 0
    last: int = 0
    since: float = 0.0


class Sealer:
    """Holds what is gathered and makes batches of it. `max_bytes` shrinks where a server refuses large bodies."""

    def __init__(self, config: AgentConfig, account: Account, encryptor: PayloadEncryptor | None) -> None:
        self.config = config
        self.account = account
        self.max_bytes = config.max_batch_bytes
        self.hurried = False
        self._encryptor = encryptor
        self._open: dict[str, Gathering] = {}

    @property
    def gathered_bytes(self) -> int:
        """Size of what is not sealed yet."""
        return sum(gathering.size for gathering in self._open.values())

    def add(self, kind: str, body: bytes, *, place: str, last: int, now: float) -> list[Batch]:
        """Take one item; returns the batches that this sealed."""
        sealed = []
        gathering = self._open.get(kind)
        if gathering is not None and (
            gathering.place != place or gathering.size + len(body) + 1 > self._room(gathering)
        ):
            sealed.append(self.seal(kind, now))
            gathering = None
        if gathering is None:
            gathering = self._open[kind] = Gathering(place, since=now)
        gathering.items.append(body)
        gathering.size += len(body) + 1
        gathering.last = last
        if len(gathering.items) >= self.config.max_batch_items or gathering.size >= self._room(gathering):
            sealed.append(self.seal(kind, now))
        return sealed

    def due(self, now: float, resting: Collection[str]) -> tuple[list[str], float | None]:
        """Return the classes whose linger is over, and the seconds until the next one (None: nothing waits).

        Lanes in `resting` send nothing now, so nothing in them is urgent: larger batches come of it.
        """
        ready, wait = [], None
        mark = self.config.buffer_size * self.config.high_watermark_ratio
        for kind, gathering in self._open.items():
            urgent = kind == ATTACK and LANE_OF[kind] not in resting
            linger = self.config.urgent_linger if urgent else float(self.config.flush_interval)
            rest = gathering.since + linger - now
            if self.hurried or rest <= 0 or len(gathering.items) >= mark:
                ready.append(kind)
            else:
                wait = rest if wait is None else min(wait, rest)
        return ready, wait

    def kinds(self) -> list[str]:
        """Return the classes in which something is gathered."""
        return list(self._open)

    def seal(self, kind: str, now: float) -> Batch:
        """Make a batch of what is gathered of a class."""
        gathering = self._open.pop(kind)
        stamp = time.time()
        identifier = f"{int(stamp * 1000)}-{os.urandom(4).hex()}"
        native: dict[str, Any] = {}
        if self.account.native:
            number, ledger = self.account.report()
            native = {"instance_id": self.account.instance, "seq": number, "ledger": ledger}
        batch = Batch(
            identifier,
            kind,
            [len(item) for item in gathering.items],
            0,
            self.account,
            sealed_at=stamp,
            last=gathering.last,
            place=gathering.place,
            born=now,
        )
        if self._encryptor is None:
            self._write_plain(batch, gathering.items, native)
        else:
            self._write_encrypted(batch, gathering.items, native, self._encryptor)
        return batch

    def _room(self, gathering: Gathering) -> int:
        # A single item may be larger than the bound: it is then a batch of its own.
        return self.max_bytes if gathering.items else max(self.max_bytes, gathering.size)

    def _write_plain(self, batch: Batch, items: list[bytes], native: dict[str, Any]) -> None:
        config = self.config
        head = b'{"project_id":%s,' % _json(config.project_id or "default")
        tail = _json(
            {
                "batch_id": batch.id,
                "created_at": datetime.fromtimestamp(batch.sealed_at, UTC).isoformat(sep=" "),
                "compressed": False,
                **self._versions(),
                **native,
            }
        )[1:]
        before, after = _around(batch.lane)
        batch.first = len(head) + len(before)
        _fill(batch, b"".join((head, before, b",".join(items), after, b",", tail)))

    def _write_encrypted(
        self, batch: Batch, items: list[bytes], native: dict[str, Any], encryptor: PayloadEncryptor
    ) -> None:
        before, after = _around(batch.lane)
        batch.first = 1 + len(before)
        batch.encrypted = True
        sealed = encryptor.seal(b"".join((b"{", before, b",".join(items), after, b"}")))
        _fill(batch, _json({"encrypted_payload": sealed, "batch_id": batch.id, **self._versions(), **native}))

    def _versions(self) -> dict[str, Any]:
        return {
            "agent_version": __version__,
            "guard_version": self.config.guard_version,
            "guard_core_version": self.config.guard_core_version,
        }


def _around(lane: str) -> tuple[bytes, bytes]:
    """Return what stands before and behind the items in the plaintext of a batch."""
    if lane == METRICS:
        return b'"events":[],"metrics":[', b"]"
    return b'"events":[', b'],"metrics":[]'


def _fill(batch: Batch, body: bytes) -> None:
    batch.body, batch.size = body, len(body)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
