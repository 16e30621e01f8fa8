"""From a request to a run that can be taken in: pack, ceiling, time, inputs, plan; nothing of it takes a lock."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from pydantic import ValidationError

from guardhouse.foundation.errors import Problem, ValidationFailed
from guardhouse.foundation.money import parse_usd
from guardhouse.runs.packs.registry import Installed, pack_named
from guardhouse.runs.plan import RunPlan
from guardhouse.runs.store import NewRun
from guardhouse.runs.wire import ReservationRequest, RunRequest

MOST_ERRORS: Final = 20


class ConflictingFields(Problem):
    """The two ceilings differ."""

    status, code, title = 422, "conflicting_fields", "Conflicting fields"
    remediation = "Send one ceiling: `max_cost_usd`, or `reservation.max_cost_usd`."


class MaxCostRequired(Problem):
    """There is no ceiling."""

    status, code, title = 422, "max_cost_required", "Ceiling required"
    remediation = "Say in `max_cost_usd` what the run may cost at most; what is not used comes back."


class PackInputInvalid(Problem):
    """The inputs are not what the pack takes."""

    status, code, title = 422, "pack_input_invalid", "Inputs do not fit the pack"
    remediation = "GET /api/v1/packs/{pack_type} shows the schema of its inputs."


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came: under which key, by whom, with which fingerprint."""

    key: str
    fingerprint: bytes
    credential: str


def fingerprint_of(body: Any) -> bytes:
    """Return SHA-256 of the parsed body as canonical JSON, without ``meta.trace_id``: a retry may have another one."""
    if isinstance(body, dict) and isinstance(body.get("meta"), dict):
        meta = {name: value for name, value in body["meta"].items() if name != "trace_id"}
        body = {**body, "meta": meta}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def ceiling_of(wanted: RunRequest) -> int:
    """Return the ceiling in micros.

    Raises:
        MaxCostRequired, ConflictingFields, InvalidMoney, InvalidMoneyScale: as they say.
    """
    given = {
        pointer: parse_usd(value, pointer)
        for pointer, value in (
            ("/max_cost_usd", wanted.max_cost_usd),
            (
                "/reservation/max_cost_usd",
                wanted.reservation.max_cost_usd if wanted.reservation else None,
            ),
        )
        if value is not None
    }
    if not given:
        raise MaxCostRequired(
            "The request has no ceiling.",
            errors=[
                {
                    "pointer": "/max_cost_usd",
                    "code": "max_cost_required",
                    "detail": "say what the run may cost",
                }
            ],
        )
    if len(set(given.values())) > 1:
        raise ConflictingFields(
            "The two ceilings differ.",
            errors=[
                {"pointer": pointer, "code": "conflicting_fields", "detail": "differ"} for pointer in given
            ],
        )
    return next(iter(given.values()))


def admit(wanted: RunRequest, asked: Asked, plan: RunPlan, run_id: UUID, now: datetime) -> tuple[NewRun, int]:
    """Return a run to take in and what to hold for it, in micros.

    Raises:
        UnknownPack, ValidationFailed, PackInputInvalid: the request does not fit the pack.
        PackTypeNotAllowed, MaxCostTooLow, MaxCostExceeded: the plan does not allow it.
        MaxCostRequired, ConflictingFields, InvalidMoney, InvalidMoneyScale: its ceiling.
    """
    installed = pack_named(wanted.pack_type)
    reservation = wanted.reservation or ReservationRequest()
    ceiling = ceiling_of(wanted)
    timebox = _timebox(installed, reservation)
    plan.admit(wanted.pack_type, ceiling)
    inputs = read_inputs(installed, wanted.inputs)
    pack = installed.pack
    reliability = reservation.min_reliability_score
    canonical = msgspec.json.encode(inputs.model_dump(mode="json"), order="deterministic")
    run = NewRun(
        run_id=run_id,
        pack_type=pack.name,
        pack_version=pack.version,
        price_version=pack.price.version,
        inputs=canonical.decode(),
        inputs_sha256=hashlib.sha256(canonical).digest(),
        quote_micros=pack.quote(inputs).expected,
        timebox_seconds=timebox,
        queue_seconds=reservation.queue_sec,
        min_reliability_milli=None if reliability is None else round(1_000 * reliability),
        label=wanted.label,
        meta=msgspec.json.encode(wanted.meta.model_dump(exclude_none=True) if wanted.meta else {}).decode(),
        webhook_url=None,
        idempotency_key=asked.key,
        fingerprint=asked.fingerprint,
        credential=asked.credential,
        plan=plan.name,
        plan_version=plan.version,
        max_attempts=pack.max_attempts,
        created_at=now,
        retention_until=now + timedelta(days=plan.retention_days),
        receipt=b"",
    )
    return run, ceiling


def _timebox(installed: Installed, reservation: ReservationRequest) -> int:
    allowed = installed.pack.timebox
    if reservation.timebox_sec is None:
        return allowed.usual
    if reservation.timebox_sec > allowed.most:
        detail = f"at most {allowed.most} seconds for {installed.pack.name}"
        raise ValidationFailed(
            f"timebox_sec is {detail}.",
            errors=[{"pointer": "/reservation/timebox_sec", "code": "range", "detail": detail}],
        )
    return reservation.timebox_sec


def read_inputs(installed: Installed, inputs: dict[str, Any]) -> Any:
    """Return inputs as the pack's own model.

    Raises:
        PackInputInvalid: they are not what it takes; each place is named below ``/inputs``.
    """
    try:
        return installed.pack.inputs.model_validate(inputs)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise PackInputInvalid(
            f"The inputs do not fit {installed.pack.name}: {found[0]['msg']}.",
            errors=[
                {
                    "pointer": "/".join(["/inputs", *(str(part) for part in one["loc"])]),
                    "code": one["type"],
                    "detail": one["msg"],
                }
                for one in found[:MOST_ERRORS]
            ],
        ) from None
