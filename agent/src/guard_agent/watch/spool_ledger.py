"""The small file that says how far a spool was delivered and what was lost: two slots, written in turns.

A torn write spoils one slot; the other still holds the state before it. The file has its full size from the
start, so writing it needs no free disk space.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any, Final

SLOT_BYTES: Final = 8192
_HEAD_BYTES: Final = 24  # 8 hex digits of CRC-32, a blank, 14 digits of the turn, a newline


class LedgerFile:
    """Keeps one JSON object; `load` gives the newest whole one, `store` writes the next."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < 2 * SLOT_BYTES:
            os.pwrite(self._file, b" " * (2 * SLOT_BYTES - 1) + b"\n", 0)
            os.fsync(self._file)
        self._turn = 0

    def load(self) -> dict[str, Any]:
        """Return the newest whole state, an empty one for a new or unreadable file."""
        newest: dict[str, Any] = {}
        for slot in (0, 1):
            raw = os.pread(self._file, SLOT_BYTES, slot * SLOT_BYTES)
            text = raw[_HEAD_BYTES:].rstrip()
            try:
                code, turn = int(raw[:8], 16), int(raw[9:23])
                if code != zlib.crc32(raw[9:23] + text) or turn <= self._turn:
                    continue
                state = json.loads(text)
            except ValueError:
                continue
            if isinstance(state, dict):
                newest, self._turn = state, turn
        return newest

    def store(self, state: dict[str, Any], *, sync: bool) -> None:
        """Write the next state.

        Raises:
            OSError: the disk refused the write.
            ValueError: the state does not fit into a slot.
        """
        self._turn += 1
        text = json.dumps(state, separators=(",", ":")).encode("ascii")
        turn = b"%014d" % self._turn
        raw = b"%08x %s\n" % (zlib.crc32(turn + text), turn) + text
        if len(raw) > SLOT_BYTES:
            raise ValueError("the state of the spool does not fit into its ledger")
        os.pwrite(self._file, raw.ljust(SLOT_BYTES), self._turn % 2 * SLOT_BYTES)
        if sync:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
