"""Events on disk between the collector and the server: numbered once, kept until a 207 names them, bounded.

Invariants: a `seq` is never given twice; what is sent was fsynced before; an event offered here is stored,
waiting, refused by the server, or counted as lost. Two classes share the numbers: plain calls give way to
security events.
"""

import heapq
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from guard_agent.watch import loss as lost
from guard_agent.watch.alphabet import CALL_SET
from guard_agent.watch.loss import Loss, LossLedger, loss_event, read_loss
from guard_agent.watch.segment import MAGIC, Segment, pack_record, read_records, scan
from guard_agent.watch.spool_ledger import LedgerFile
from guard_agent.watch.stream import Stream, lock_folder, open_stream, write_stream

LIMIT_BYTES: Final = 256 * 1024 * 1024
SEGMENT_BYTES: Final = 4 * 1024 * 1024
SHED_FROM: Final = 0.8
SYNC_EVENTS: Final = 1000
MAX_EVENT_BYTES: Final = 16_384
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024

Event = dict[str, Any]
_Place = tuple[Segment, int]


@dataclass(slots=True)
class Gathered:
    """The next events to send: their JSON texts in order of `seq`."""

    payloads: list[bytes]
    first: int
    last: int


def is_plain(event: Event) -> bool:
    """Tell whether an event gives way first: a call outside the security set, or a run of such calls."""
    kind = event.get("kind", "call")
    return kind == "calls" or (kind == "call" and event.get("syscall") not in CALL_SET)


class Spool:
    """One stream's folder. All methods may be called from any thread; one process at a time.

    Raises:
        SpoolBusyError: another process has the folder open.
        OSError: the folder cannot be made or read.
    """

    def __init__(
        self,
        folder: Path,
        stream: Stream | None = None,
        *,
        limit_bytes: int = LIMIT_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()
        self._guard = lock_folder(folder)
        try:
            self.stream = open_stream(folder, stream)
            self._limit, self._segment_bytes = limit_bytes, segment_bytes
            self._ledger = LedgerFile(folder / "ledger")
        except BaseException:
            os.close(self._guard)
            raise
        state = self._ledger.load()
        self.settled: int = state.get("settled", 0)
        self.stored: int = state.get("stored", 0)
        self.refused: dict[str, int] = state.get("refused", {})
        self.losses = LossLedger(state.get("losses"))
        self.told: int = state.get("told", 0)
        self.offered = 0
        self._closed = False
        self._sealed_to = self.settled
        self._segments = self._scan()
        self._next = 1 + max(
            [state.get("next", 1) - 1, self.settled, *(item.last for item in self._segments)]
        )
        self._files: dict[bool, _Place] = {}
        self._cursor: dict[bool, _Place] = {}
        self._gathered: dict[bool, _Place] = {}
        self._unsynced = 0
        self.waiting = sum(_count_after(item, self.settled) for item in self._segments)

    @property
    def bytes_used(self) -> int:
        """Size of all segments."""
        return sum(item.size for item in self._segments)

    @property
    def fullness(self) -> float:
        """Share of the limit that is used, 0 to 1."""
        return self.bytes_used / self._limit

    def write_stream(self) -> None:
        """Write what the stream says about itself, after `about` was changed."""
        write_stream(self.folder, self.stream)

    def append(self, events: list[Event]) -> None:
        """Number events and write them; what cannot be kept is counted as lost, never raised."""
        if not events:
            return
        with self._lock:
            self.offered += len(events)
            self._tell_losses(events[-1].get("timestamp", 0))
            for plain, run in groupby(events, is_plain):
                records, kept = self._number(list(run))
                where = self._store(records, len(kept), plain=plain) if kept else None
                if where is not None:
                    self._lose(where, kept)
            if self._unsynced >= SYNC_EVENTS:
                self._sync()

    def count_loss(self, loss: Loss) -> None:
        """Count events that were lost before they came here; they belong to what was offered."""
        with self._lock:
            self.offered += loss.count
            self.losses.add(loss)

    def sync(self) -> None:
        """Put everything on the disk, open losses and counts included."""
        with self._lock:
            if self._closed:
                return
            self._tell_losses(time.time_ns())
            self._sync()
            self._save(sync=False)

    def gather(self, most: int) -> Gathered | None:
        """Return the next events after those gathered last, at most `most`, fsynced; None when none."""
        with self._lock:
            if self._closed:
                return None
            self._tell_losses(time.time_ns())
            self._sync()
            payloads: list[bytes] = []
            first = last = size = 0
            for seq, payload, segment, offset in heapq.merge(
                self._after(plain=True), self._after(plain=False)
            ):
                if len(payloads) >= most or (payloads and size + len(payload) > MAX_BATCH_BYTES):
                    break
                payloads.append(payload)
                size += len(payload)
                first, last = first or seq, seq
                self._gathered[segment.plain] = (segment, offset)
            if not payloads:
                return None
            self._sealed_to = last
            return Gathered(payloads, first, last)

    def skip_to(self, last: int, count: int) -> None:
        """Take everything up to `last` as gathered: sealed batches of an earlier run hold `count` events."""
        with self._lock:
            self._sealed_to = max(self._sealed_to, last)
            self._next = max(self._next, last + 1)
            self.waiting = count + sum(_count_after(item, last) for item in self._segments)

    def settle(self, last: int, stored: int, refused: dict[str, int]) -> None:
        """Take the batch that ends with `last` as named by a 207; delete the segments that hold nothing else.

        Raises:
            OSError: the ledger cannot be written; nothing is deleted then.
        """
        with self._lock:
            if self._closed:
                return
            self.settled = max(self.settled, last)
            self._sealed_to = max(self._sealed_to, last)
            self.stored += stored
            for code, count in refused.items():
                self.refused[code] = self.refused.get(code, 0) + count
            self.waiting = max(0, self.waiting - stored - sum(refused.values()))
            self._cursor.update(self._gathered)
            self._save(sync=True)
            for segment in [item for item in self._segments if item.last <= self.settled]:
                if self._files.get(segment.plain, (None,))[0] is not segment:
                    self._remove(segment)

    def close(self) -> bool:
        """Sync and close; True when everything was delivered and the folder's segments are gone."""
        with self._lock:
            self._tell_losses(time.time_ns())
            self._sync()
            for _, file in self._files.values():
                os.close(file)
            self._files.clear()
            self._save(sync=True)
            done = self.waiting == 0
            if done:
                for segment in list(self._segments):
                    self._remove(segment)
            self._ledger.close()
            os.close(self._guard)
            self._closed = True
            return done

    def _number(self, run: list[Event]) -> tuple[bytes, list[Event]]:
        """Give numbers from the next one on; return the records and the events that are not too large."""
        records = bytearray()
        kept: list[Event] = []
        for event in run:
            event["seq"] = self._next + len(kept)
            payload = json.dumps(event, separators=(",", ":")).encode("ascii")
            if len(payload) > MAX_EVENT_BYTES:
                self._lose(lost.TOO_LARGE, [event])
                continue
            records += pack_record(event["seq"], payload)
            kept.append(event)
        return bytes(records), kept

    def _store(self, records: bytes, count: int, *, plain: bool) -> str | None:
        """Write numbered records; return None, or where they were lost (numbers free again)."""
        if plain and self.bytes_used >= self._limit * SHED_FROM:
            return lost.SHED
        if not self._make_room(len(records)):
            return lost.FULL
        try:
            segment = self._write(records, plain=plain)
        except OSError:
            return lost.DISK
        segment.first = segment.first or self._next
        self._next += count
        segment.last = self._next - 1
        segment.count += count
        self.waiting += count
        self._unsynced += count
        return None

    def _write(self, records: bytes, *, plain: bool) -> Segment:
        segment, file = self._file(plain=plain)
        try:
            written = os.write(file, records)
            while written < len(records):
                written += os.write(file, records[written:])
        except OSError:
            os.ftruncate(file, segment.size)
            raise
        segment.size += len(records)
        return segment

    def _file(self, *, plain: bool) -> tuple[Segment, int]:
        if plain in self._files:
            segment, file = self._files[plain]
            if segment.size < self._segment_bytes:
                return segment, file
            os.fsync(file)
            os.close(file)
            del self._files[plain]
        path = self.folder / f"{'plain' if plain else 'security'}-{self._next:016d}.seg"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, MAGIC)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        segment = Segment(path, plain, len(MAGIC))
        self._segments.append(segment)
        self._files[plain] = (segment, file)
        return segment, file

    def _make_room(self, size: int) -> bool:
        """Drop the oldest plain segment, else the oldest other, until `size` bytes fit."""
        while self.bytes_used + size > self._limit:
            oldest = min(self._segments, key=lambda item: (not item.plain, item.first), default=None)
            if oldest is None or size > self._limit:
                return False
            self._drop(oldest)
        return True

    def _drop(self, segment: Segment) -> None:
        safe = max(self.settled, self._sealed_to)
        count = 0
        for seq, payload, _ in read_records(segment.path):
            if seq <= safe:
                continue
            self.waiting -= 1
            told = read_loss(payload)
            if told is None:
                count += 1
            else:  # the loss is untold again
                self.losses.put_back(told)
                self.told -= 1
        if count:
            now = time.time_ns()
            self.losses.add(Loss(lost.DROPPED, count, now, now, max(segment.first, safe + 1), segment.last))
        if self._files.get(segment.plain, (None,))[0] is segment:
            os.close(self._files.pop(segment.plain)[1])
        self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        self._segments.remove(segment)
        for cursors in (self._cursor, self._gathered):
            if cursors.get(segment.plain, (None,))[0] is segment:
                del cursors[segment.plain]
        segment.path.unlink(missing_ok=True)

    def _after(self, *, plain: bool) -> Iterator[tuple[int, bytes, "Segment", int]]:
        """Yield what one class holds beyond the events gathered last."""
        begin = self._gathered.get(plain) or self._cursor.get(plain)
        for segment in sorted(
            (s for s in self._segments if s.plain is plain and s.count), key=lambda s: s.first
        ):
            if segment.last <= self._sealed_to:
                continue
            offset = begin[1] if begin is not None and begin[0] is segment else len(MAGIC)
            for seq, payload, behind in read_records(segment.path, offset):
                if seq > self._sealed_to:
                    yield seq, payload, segment, behind

    def _tell_losses(self, ns: int) -> None:
        for loss in self.losses.take_untold():
            records, kept = self._number([loss_event(loss, ns or time.time_ns())])
            if self._store(records, len(kept), plain=False) is None:
                self.told += 1
            else:
                self.losses.put_back(loss)

    def _lose(self, where: str, events: list[Event]) -> None:
        times = [event["timestamp"] for event in events if "timestamp" in event] or [0]
        self.losses.add(Loss(where, len(events), min(times), max(times)))

    def _sync(self) -> None:
        if self._unsynced:
            for _, file in self._files.values():
                os.fsync(file)
            self._unsynced = 0

    def _save(self, *, sync: bool) -> None:
        state = {
            "settled": self.settled,
            "next": self._next,
            "stored": self.stored,
            "told": self.told,
            "refused": self.refused,
            "losses": self.losses.to_json(),
        }
        self._ledger.store(state, sync=sync)

    def _scan(self) -> list[Segment]:
        found = []
        for path in sorted(self.folder.glob("*.seg")):
            segment = scan(path, plain=path.name.startswith("plain-"))
            if segment.count:
                found.append(segment)
            else:
                path.unlink()
        return found


def _count_after(segment: Segment, seq: int) -> int:
    if segment.first > seq:
        return segment.count
    if segment.last <= seq:
        return 0
    return sum(1 for number, _, _ in read_records(segment.path) if number > seq)
