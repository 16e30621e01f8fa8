"""One instance's folder on disk: items as they come, batches as they are sealed, and the ledger.

Invariants: an item is on disk before it counts as `spool`; a batch's file is whole before its items leave the log; the
ledger names a settled batch before its file goes. So whatever moment a process dies in, its heir finds every item once.
"""

import contextlib
import json
import os
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.classes import SENT_FIRST
from guard_agent._pipeline.frame import ENCRYPTED, ITEM, SEALED, pack_frame, read_frames
from guard_agent._pipeline.ledger import LANES
from guard_agent._pipeline.serialise import Item
from guard_agent.encryption import PayloadEncryptor
from guard_agent.watch.spool_ledger import LedgerFile
from guard_agent.watch.stream import lock_folder

SEGMENT_BYTES: Final = 4 * 1024 * 1024
_EMPTY_BYTES: Final = 65_536
_NO_KEY: Final = bytes(16)
_KEPT_GONE: Final = 64
_FREE_SECONDS: Final = 0.05


@dataclass(slots=True)
class Segment:
    """One file of the item log: its size, and the last number of each class in it."""

    path: Path
    file: int
    size: int = 0
    last: dict[str, int] = field(default_factory=dict)


class Spool:
    """The folder of one instance, new or left by a dead process; locked while this object is open.

    `append` may be called from any thread, everything else from the worker's.

    Raises:
        SpoolBusyError: another process has the folder.
        OSError: it cannot be made or written.
    """

    def __init__(self, folder: Path, account: Account, encryptor: PayloadEncryptor | None = None) -> None:
        self.folder = folder
        self.account = account
        self.used = 0
        self._batches = folder / "batches"
        self._batches.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._guard = lock_folder(folder)
        self._lock = threading.Lock()
        self._encryptor = encryptor
        self._segments: list[Segment] = []
        self._next = 1
        self._sealed_to = dict.fromkeys(SENT_FIRST, 0)
        self._gone: list[str] = []
        self._unsynced: list[Path] = []
        self._dirty = False
        self._closed = False
        try:
            self._ledger = LedgerFile(folder / "ledger")
            self.found = state = self._ledger.load()
            account.ledger.restore(state.get("settled") or {})
            account.reports = int(state.get("reports") or 0)
            account.native = bool(state.get("native", account.native))
            self._sealed_to |= state.get("sealed_to") or {}
            self._gone = list(state.get("gone") or [])
            if not state:
                self.save()
        except BaseException:
            os.close(self._guard)
            raise

    def append(self, kind: str, item: Item, *, sync: bool = False) -> int:
        """Write one item and return its number; nothing stays of it where that fails.

        Raises:
            OSError: the disk refused it, or the spool is closed.
        """
        payload, flags = item.body, 0
        if self._encryptor is not None:
            payload, flags = self._encryptor.seal(payload).encode("ascii"), ENCRYPTED
        with self._lock:
            if self._closed:
                raise OSError("the spool is closed")
            number = self._next
            record = pack_frame(ITEM, kind, number, item.key, payload, flags=flags)
            segment = self._segment(len(record))
            _write_all(segment, record)
            segment.size += len(record)
            segment.last[kind] = number
            self._next += 1
            self.used += len(record)
            self._dirty = True
            if sync:
                os.fdatasync(segment.file)
            return number

    def is_free(self) -> bool:
        """Tell whether nobody is in the middle of a write; a signal handler may have interrupted one that is."""
        free = self._lock.acquire(timeout=_FREE_SECONDS)
        if free:
            self._lock.release()
        return free

    def write_batch(self, batch: Batch) -> None:
        """Write a sealed batch; its items leave the log with the next `save`.

        Raises:
            OSError: the disk refused it; the items stay in the log.
        """
        if batch.body is None:
            raise ValueError("a batch without its body cannot be written")
        path = self._batches / f"{batch.last:016d}-{batch.id}.batch"
        head = json.dumps(batch.head(), separators=(",", ":")).encode("ascii")
        record = pack_frame(SEALED, batch.kind, batch.last, _NO_KEY, head + b"\n" + batch.body)
        draft = path.with_suffix(".new")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, record)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        draft.replace(path)
        batch.path = path
        self.used += len(record)
        self._unsynced.append(path)
        self._dirty = True
        with self._lock:
            self._sealed_to[batch.kind] = max(self._sealed_to[batch.kind], batch.last)

    def read_batch(self, batch: Batch) -> bytes | None:
        """Return the body of a batch from its file, None where that is damaged or gone."""
        found = read_batch_file(batch.path, batch.account) if batch.path is not None else None
        return None if found is None else found.body

    def forget(self, *batches: Batch) -> None:
        """Settle batches: the ledger says so first, then their files go. A failing disk is no error here."""
        self._gone = [*self._gone, *(batch.id for batch in batches)][-_KEPT_GONE:]
        self.save()
        for batch in batches:
            if batch.path is not None:
                with contextlib.suppress(OSError):
                    self.used -= batch.path.stat().st_size
                    batch.path.unlink()
                batch.path = None

    def save(self) -> None:
        """Write the ledger and let go of log files whose items are all sealed. A failing disk is no error here."""
        ledger = self.account.ledger
        state: dict[str, Any] = {
            "instance": self.account.instance,
            "reports": self.account.reports,
            "native": self.account.native,
            "settled": ledger.settled(),
            "captured": {lane: ledger.captured(lane) for lane in LANES},
            "sealed_to": self._sealed_to,
            "gone": self._gone,
        }
        with contextlib.suppress(OSError):
            self._ledger.store(state, sync=False)
        self._let_go()

    def sync(self) -> None:
        """Force to the disk what was written since the last time. A failing disk is no error here."""
        with self._lock:
            if not self._dirty or self._closed:
                return
            self._dirty = False
            paths, self._unsynced = self._unsynced, []
            file = os.dup(self._segments[-1].file) if self._segments else None
        with contextlib.suppress(OSError):
            for path in paths:
                _sync_file(path)
        if file is not None:
            with contextlib.suppress(OSError):
                os.fdatasync(file)
            os.close(file)

    def close(self, *, remove: bool = False) -> None:
        """Give the folder up; `remove` it where nothing is left in it."""
        if self._closed:
            return
        self.save()
        with self._lock:
            self._closed = True
            for segment in self._segments:
                os.close(segment.file)
            self._ledger.close()
            if remove:
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._guard)

    def abandon(self) -> None:
        """Close the files of a folder that another process goes on with: a child after a fork."""
        self._closed = True
        for segment in self._segments:
            os.close(segment.file)
        self._ledger.close()
        os.close(self._guard)

    def _segment(self, size: int) -> Segment:
        if self._segments and self._segments[-1].size + size <= SEGMENT_BYTES:
            return self._segments[-1]
        path = self.folder / f"items-{self._next:016d}.log"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC, 0o600)
        segment = Segment(path, file)
        self._segments.append(segment)
        return segment

    def _let_go(self) -> None:
        with self._lock:
            for segment in list(self._segments):
                current = segment is self._segments[-1]
                if any(last > self._sealed_to[kind] for kind, last in segment.last.items()) or (
                    current and segment.size < _EMPTY_BYTES
                ):
                    continue
                self._segments.remove(segment)
                os.close(segment.file)
                self.used -= segment.size
                with contextlib.suppress(OSError):
                    segment.path.unlink()


def read_batch_file(path: Path, account: Account) -> Batch | None:
    """Return the batch of a file with its body, None where it is damaged, of another version or gone."""
    try:
        frame = next(read_frames(path.read_bytes()), None)
        if frame is None:
            return None
        head, _, body = frame.payload.partition(b"\n")
        known = json.loads(head)
        return Batch(
            **known,
            account=account,
            body=body,
            size=len(body),
            place="spool",
            path=path,
            born=time.monotonic(),
        )
    except (OSError, ValueError, TypeError):
        return None


def _write_all(segment: Segment, record: bytes) -> None:
    try:
        _write(segment.file, record)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(segment.file, segment.size)
        raise


def _write(file: int, record: bytes) -> None:
    written = os.write(file, record)
    while written < len(record):
        written += os.write(file, record[written:])


def _sync_file(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
