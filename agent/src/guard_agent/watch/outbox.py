"""Seal the next events of a spool into a batch that stays the same, byte for byte, until a 207 names it.

A sealed batch is a file of its own: its key and its bytes survive a restart, so every retry is the same
request to the server (one Idempotency-Key, one body) and nothing is stored twice.
"""

import gzip
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from guard_agent.watch.spool import Spool
from guard_agent.watch.stream import Stream

BATCH_EVENTS: Final = 1000
_ZSTD_LEVEL: Final = 3
_GZIP_LEVEL: Final = 5
MAX_DECODED_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """One request in the making: its key, `count` events numbered `first` to `last`, the `body` as sent."""

    key: str
    first: int
    last: int
    count: int
    coding: str
    body: bytes


def best_coding() -> str:
    """Return `zstd` where the extra `watch` is installed, else `gzip`."""
    return "zstd" if find_spec("zstandard") is not None else "gzip"


def encode_body(plain: bytes, coding: str) -> bytes:
    """Compress a body; `coding` is `zstd`, `gzip` or `identity`."""
    if coding == "zstd":
        import zstandard  # noqa: PLC0415 -- optional: only named where `best_coding` found it

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(plain)
    return gzip.compress(plain, _GZIP_LEVEL, mtime=0) if coding == "gzip" else plain


def decode_body(body: bytes, coding: str) -> bytes:
    """Undo `encode_body`."""
    if coding == "zstd":
        import zstandard  # noqa: PLC0415 -- optional: a batch is packed with it where it was installed

        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_DECODED_BYTES)
    return gzip.decompress(body) if coding == "gzip" else body


def join_body(stream: Stream, payloads: list[bytes]) -> bytes:
    """Return the JSON body of section 2.1 around events that are JSON already."""
    envelope = {
        "agent_id": stream.agent_id,
        "stream": stream.stream,
        "boot_id": stream.boot_id,
        "alphabet": stream.alphabet,
    }
    head = json.dumps(envelope, separators=(",", ":")).encode("ascii")
    return head[:-1] + b',"events":[' + b",".join(payloads) + b"]}"


class Outbox:
    """The sealed batches of one spool, oldest first. One thread works with it."""

    def __init__(self, spool: Spool, new_key: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self.spool = spool
        self._new_key = new_key
        self._coding = best_coding()
        self._sealed: list[Batch] = []
        for path in sorted(spool.folder.glob("*.batch")):
            batch = _read_batch(path)
            if batch is None or batch.last <= spool.settled:
                path.unlink()
            else:
                self._sealed.append(batch)
        if self._sealed:
            spool.skip_to(self._sealed[-1].last, sum(batch.count for batch in self._sealed))

    def next_batch(self) -> Batch | None:
        """Return the oldest sealed batch, sealing one when there is none; None when nothing waits."""
        if not self._sealed:
            gathered = self.spool.gather(BATCH_EVENTS)
            if gathered is None:
                return None
            body = encode_body(join_body(self.spool.stream, gathered.payloads), self._coding)
            count = len(gathered.payloads)
            self._seal(Batch(self._new_key(), gathered.first, gathered.last, count, self._coding, body))
        return self._sealed[0]

    def settle(self, batch: Batch, stored: int, refused: dict[str, int]) -> None:
        """Forget a batch that the server has named; `refused` counts its item errors by code."""
        self.spool.settle(batch.last, stored, refused)
        self._sealed.remove(batch)
        self._path(batch).unlink(missing_ok=True)

    def split(self, batch: Batch) -> bool:
        """Replace a batch that is too large by its halves; False when it has one event only."""
        document: dict[str, Any] = json.loads(decode_body(batch.body, batch.coding))
        events = document["events"]
        if len(events) <= 1:
            return False
        middle = len(events) // 2
        halves = []
        for part in (events[:middle], events[middle:]):
            plain = json.dumps(document | {"events": part}, separators=(",", ":")).encode("ascii")
            body = encode_body(plain, batch.coding)
            halves.append(
                Batch(self._new_key(), part[0]["seq"], part[-1]["seq"], len(part), batch.coding, body)
            )
        self._sealed.remove(batch)
        self._path(batch).unlink(missing_ok=True)
        for half in reversed(halves):
            self._sealed.insert(0, half)
            self._write(half)
        return True

    def recode(self, batch: Batch) -> bool:
        """Send this and later batches as gzip, then plain; False when nothing is left to try."""
        if batch.coding == "identity":
            return False
        self._coding = "gzip" if batch.coding == "zstd" else "identity"
        body = encode_body(decode_body(batch.body, batch.coding), self._coding)
        self._swap(batch, replace(batch, coding=self._coding, body=body))
        return True

    def rename(self, batch: Batch) -> None:
        """Give a batch another key: the server knows this one with other bytes."""
        self._swap(batch, replace(batch, key=self._new_key()))

    def _swap(self, old: Batch, new: Batch) -> None:
        self._sealed[self._sealed.index(old)] = new
        self._write(new)

    def _seal(self, batch: Batch) -> None:
        self._sealed.append(batch)
        self._write(batch)

    def _write(self, batch: Batch) -> None:
        """Put a batch on the disk; on a full disk it lives in memory, and a restart seals its events anew."""
        head = {"key": batch.key, "first": batch.first, "last": batch.last, "count": batch.count}
        draft = self.spool.folder / "batch.new"
        try:
            with draft.open("wb") as file:
                file.write(
                    json.dumps(head | {"coding": batch.coding, "size": len(batch.body)}).encode("ascii")
                    + b"\n"
                )
                file.write(batch.body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path(batch))
        except OSError:
            draft.unlink(missing_ok=True)

    def _path(self, batch: Batch) -> Path:
        return self.spool.folder / f"{batch.first:016d}.batch"


def _read_batch(path: Path) -> Batch | None:
    with path.open("rb") as file:
        try:
            head = json.loads(file.readline())
            body = file.read()
            if len(body) != head.pop("size"):
                return None
            return Batch(body=body, **head)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
