"""A signed export: JSON Lines that prove themselves offline, the last line signing every byte before it.

Members stand as the hash covers them: ``before`` and ``after`` are JSON texts, ``at_us`` microseconds since 1970.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.audit.signing_key import SigningKey
from guardhouse.audit.store import StoredEntry
from guardhouse.foundation.clock import microseconds, rfc3339

FORMAT: Final = "guardhouse-audit-export/1"
DOMAIN: Final = b"guardhouse-audit-export-v1\n"


@dataclass(frozen=True, slots=True)
class Span:
    """What is exported of which log; ``prev_hash`` is the hash before the first entry."""

    tenant_id: UUID
    tenant: str
    first: int
    last: int
    prev_hash: bytes


class ExportWriter:
    """Writes one export. Call ``head``, then ``entries`` as often as needed, then ``signature``."""

    def __init__(self, span: Span, key: SigningKey, now: datetime) -> None:
        self._span = span
        self._key = key
        self._now = now
        self._digest = hashlib.sha256()
        self._count = 0
        self._end_hash = span.prev_hash

    def head(self) -> bytes:
        """Return the first line: what this is, and which key signs it."""
        return self._line(
            {
                "format": FORMAT,
                "tenant_id": str(self._span.tenant_id),
                "tenant": self._span.tenant,
                "from": self._span.first,
                "to": self._span.last,
                "prev_hash": self._span.prev_hash.hex(),
                "made_at": rfc3339(self._now),
                "key_id": self._key.id,
            }
        )

    def entries(self, entries: Sequence[StoredEntry]) -> bytes:
        """Return the lines of some entries."""
        self._count += len(entries)
        if entries:
            self._end_hash = entries[-1].hash
        return b"".join(self._line(_members(entry)) for entry in entries)

    def signature(self) -> bytes:
        """Return the last line: ed25519 over a fixed first line and the hex SHA-256 of all bytes before this one."""
        digest = self._digest.hexdigest()
        return self._line(
            {
                "entries": self._count,
                "end_hash": self._end_hash.hex(),
                "sha256": digest,
                "key_id": self._key.id,
                "signature": base64.b64encode(self._key.sign(DOMAIN + digest.encode())).decode(),
            }
        )

    def _line(self, value: dict[str, Any]) -> bytes:
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._digest.update(line)
        return line


def _members(entry: StoredEntry) -> dict[str, Any]:
    return {
        "tenant_id": str(entry.tenant_id),
        "seq": entry.seq,
        "at_us": microseconds(entry.at),
        "actor": entry.actor,
        "credential": entry.credential,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
        "ip": entry.ip,
        "user_agent": entry.user_agent,
        "correlation_id": entry.correlation_id,
        "prev_hash": entry.prev_hash.hex(),
        "hash": entry.hash.hex(),
    }
