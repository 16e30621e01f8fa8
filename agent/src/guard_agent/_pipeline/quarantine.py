"""Keeps single items that the server refused, at most 8 MiB of them, for whoever wants to know what they were."""

import contextlib
import json
import os
from collections import deque
from typing import Any, Final

from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.keeper import Keeper

_BYTES: Final = 8 * 1024 * 1024
_IN_MEMORY: Final = 100
_FILE: Final = "items.jsonl"


class Quarantine:
    """Writes refused items to `quarantine/` of the spool's folder for all instances, else keeps the last 100 here."""

    def __init__(self, keeper: Keeper) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=_IN_MEMORY)
        self._keeper = keeper

    def put(self, batch: Batch, item: bytes, code: str, detail: str) -> None:
        """Keep one item and why it was refused; a failing disk or a full quarantine is no error.

        What the application encrypts is not written down in the clear: of such an item only the reason is kept.
        """
        entry = {
            "batch_id": batch.id,
            "lane": batch.lane,
            "code": code,
            "detail": detail,
            "item": None if batch.encrypted else item.decode("utf-8", "replace"),
        }
        self.recent.append(entry)
        spool = self._keeper.spool
        if spool is None:
            return
        folder = spool.folder.parent / "quarantine"
        line = json.dumps(entry).encode("ascii") + b"\n"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / _FILE
            if path.exists() and path.stat().st_size + len(line) > _BYTES:
                return
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)
