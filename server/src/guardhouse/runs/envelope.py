"""The envelope: a result as it is stored and handed out, with what it cost and how it can be made again."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.money import format_usd
from guardhouse.ledger.fee import minimum_fee
from guardhouse.runs.pack import Pack, PackContext, PackResult
from guardhouse.runs.store import Run

SCHEMA_VERSION: Final = "1.0"
MOST_BYTES: Final = 8 * 1024 * 1024
NAME: Final = "pack_envelope.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a result: the envelope first, then its artifacts."""

    name: str
    key: str
    media_type: str
    content: bytes

    def pointer(self) -> dict[str, Any]:
        """Return what the row says of it, before it is stored."""
        return {
            "name": self.name,
            "key": self.key,
            "media_type": self.media_type,
            "bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
        }


def folder_of(run: Run, token: UUID) -> str:
    """Return where the objects of one try to finish lie: no two tries have the same."""
    day = run.created_at.strftime("%Y/%m/%d")
    return f"runs/{run.tenant_id}/{day}/{run.run_id}/{token}"


def parts_of(run: Run, pack: Pack, ctx: PackContext, found: PackResult, token: UUID) -> list[Part]:
    """Return the objects of a result."""
    folder = folder_of(run, token)
    files = [Part(one.name, f"{folder}/{one.name}", one.media_type, one.content) for one in ctx.artifacts]
    body = msgspec.json.encode(_body(run, pack, ctx, found, files))
    whole = Part(NAME, f"{folder}/{NAME}", "application/json; charset=utf-8", body)
    return [whole, *files]


def _body(run: Run, pack: Pack, ctx: PackContext, found: PackResult, files: list[Part]) -> dict[str, Any]:
    data = found.data.model_dump(mode="json")
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": str(run.run_id),
        "pack_type": run.pack_type,
        "pack_version": pack.version,
        "price_version": run.price_version,
        "status": "COMPLETED",
        "generated_at": rfc3339(ctx.now),
        "cost": {
            "reserved_usd": format_usd(run.hold),
            "used_usd": format_usd(ctx.meter.cost),
            "minimum_fee_usd": format_usd(minimum_fee(run.hold, run.quote_micros)),
        },
        "reliability": None if found.reliability_milli is None else found.reliability_milli / 1_000,
        "data": data,
        "artifacts": {one.name: {key: one.pointer()[key] for key in ("bytes", "sha256")} for one in files},
        "logs": {
            "discard_log": [asdict(one) for one in ctx.discarded_log],
            "blocked_log": [asdict(one) for one in ctx.blocked_log],
        },
        "meta": {**run.meta, "attempt": run.attempt},
        "determinism": {
            "inputs_sha256": run.inputs_sha256.hex(),
            "data_sha256": hashlib.sha256(msgspec.json.encode(data)).hexdigest(),
            "seed": f"{ctx.seed:016x}",
            "engines": found.engines,
            "replayable": True,
        },
    }
