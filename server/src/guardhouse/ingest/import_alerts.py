"""Takes events and alerts of Falco, Tetragon and Tracee in their own words, and stores them as those of a host.

An item that its format cannot read costs only itself. An event that the tool gave no id gets one from its own text, so
that the same line comes in once however bodies are cut.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Final

import msgspec

from guardhouse.agents.enroll_host import AGENT_ID
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.idempotency import checked, unquoted
from guardhouse.foundation.resources import Resources
from guardhouse.identity.signatures import Unauthorized
from guardhouse.ingest.accept_host import HostRequest, agent_of, authenticate
from guardhouse.ingest.decode_body import MAX_ITEM_BYTES
from guardhouse.ingest.decode_lenient import Unreadable, decode_item
from guardhouse.ingest.formats.falco import read_falco
from guardhouse.ingest.formats.reading import Reader, Reading, Unmapped
from guardhouse.ingest.formats.tetragon import read_tetragon
from guardhouse.ingest.formats.tracee import read_tracee
from guardhouse.ingest.host_batch import NDJSON, HostBatch, check_count
from guardhouse.ingest.host_items import HostEvent, ItemError, explain, finite
from guardhouse.ingest.replay import BatchKey
from guardhouse.ingest.split_alerts import split_alerts
from guardhouse.ingest.take_batch import HostAnswer, Sent, take_batch
from guardhouse.scores.wait import Backlog

FORMATS: Final[dict[str, Reader]] = {"falco": read_falco, "tetragon": read_tetragon, "tracee": read_tracee}
ALERTS: Final = frozenset({"falco"})  # tells of processes, but not which instance by any start
_KEYS_APART: Final = "\x1f"  # in no key that a client can send: imports have keys of their own
_ID_DIGITS: Final = 32


class UnknownFormat(Problem):
    """The import names no format that is read here."""

    status, code, title = 422, "unknown_format", "Unknown format"
    remediation = "Say ?format=falco, ?format=tetragon or ?format=tracee."


@dataclass(frozen=True, slots=True)
class Import:
    """An import as it came, the format it is said to be in, and the agent it names (None: as the events say)."""

    request: HostRequest
    format: str
    agent_id: str | None


async def import_alerts(resources: Resources, backlog: Backlog, wanted: Import) -> HostAnswer:
    """Read, judge, store and answer one body of another tool.

    Raises:
        Problem: the envelope is at fault (authentication, format, key, shape, size) or the database is away;
            nothing is stored then.
    """
    request = wanted.request
    caller, legacy = await authenticate(resources, request)
    if legacy:  # it covers no query: the older signature is good for events alone
        raise Unauthorized(resources.clock)
    reader = FORMATS.get(wanted.format)
    if reader is None:
        raise UnknownFormat(f"There is no import format {wanted.format[:40]!r}.", supported=list(FORMATS))
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raws = split_alerts(request.content, said_lines=media == NDJSON)
    check_count(len(raws))
    readings = [read_alert(raw, reader) for raw in raws]
    named = wanted.agent_id
    bound = named is not None or caller.agent_id is not None
    agent_id = agent_of(caller, named if bound else _host_of(readings))
    items = as_events(wanted.format, raws, readings, None if bound else agent_id)
    alphabet, alerts = f"{wanted.format}.v1", wanted.format in ALERTS
    batch = HostBatch(agent_id, None, None, alphabet, None, items, request.content, beside_agent=alerts)
    key = _key(wanted.format, request.headers.get("idempotency-key"), request.content)
    return await take_batch(resources, backlog, Sent(caller, agent_id, batch, key, request.headers))


def _key(named: str, header: str | None, content: bytes) -> BatchKey:
    digest = hashlib.sha256(content)
    key = digest.hexdigest() if header is None else checked(unquoted(header))
    return BatchKey(f"import{_KEYS_APART}{named}{_KEYS_APART}{key}", digest.digest(), legacy=False)


def read_alert(raw: bytes, reader: Reader) -> Reading | ItemError:
    """Return one item of a body as its format reads it, or what is wrong with it; whatever stands there."""
    if len(raw) > MAX_ITEM_BYTES:
        return ItemError("event_too_large", f"the item is {len(raw):,} bytes, limit {MAX_ITEM_BYTES:,}")
    try:
        value = finite(decode_item(raw))
        if not isinstance(value, dict):
            return ItemError("event_invalid", "is not an object")
        return reader(value)
    except RecursionError:
        return ItemError("event_invalid", "nested too deep")
    except Unreadable as error:
        return ItemError("event_invalid", str(error))
    except Unmapped as error:
        return ItemError("event_invalid", error.detail, error.field)


def _host_of(readings: list[Reading | ItemError]) -> str | None:
    """Return the first host that the events name and that can be an agent's id."""
    for reading in readings:
        if isinstance(reading, Reading) and reading.host is not None and AGENT_ID.fullmatch(reading.host):
            return reading.host
    return None


def as_events(
    named: str, raws: list[bytes], readings: list[Reading | ItemError], host: str | None
) -> list[HostEvent | ItemError]:
    """Return each reading as an event or an error; with a ``host``, those of others are errors."""
    seen: Counter[str] = Counter()
    items: list[HostEvent | ItemError] = []
    for raw, reading in zip(raws, readings, strict=True):
        if isinstance(reading, ItemError):
            items.append(reading)
        elif host is not None and reading.host not in (None, host):
            detail = f"the body is taken as of {host}; send each host's events apart, or name agent_id"
            items.append(ItemError("agent_mismatch", detail, "hostname"))
        else:
            items.append(_event(named, raw, reading, seen))
    return items


def _event(named: str, raw: bytes, reading: Reading, seen: Counter[str]) -> HostEvent | ItemError:
    members = reading.members
    if "id" not in members:
        digest = hashlib.sha256(raw).hexdigest()[:_ID_DIGITS]
        copies = seen[digest]
        seen[digest] += 1
        members = members | {"id": f"{named}-{digest}" + (f".{copies}" if copies else "")}
    try:
        return msgspec.convert(members, HostEvent)
    except msgspec.ValidationError as error:
        return explain(error)
