"""A verdict for each item of a host batch: an event that may be stored, or what is wrong with it.

The whole batch is decoded at once; only when that fails is each item judged alone, so that one bad item
costs only itself. Shapes and limits: events-and-risk §2.1 and §2.2.
"""

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from guardhouse.events.identify import identifier
from guardhouse.events.store import CLAMPED, UNTIMED
from guardhouse.events.write_process import KINDS, Fields, NewEvent
from guardhouse.ingest.decode_lenient import Unreadable
from guardhouse.ingest.decode_lenient import decode_item as decode_leniently

MAX_EVENTS: Final = 10_000
MAX_EVENT_BYTES: Final = 16 << 10
MAX_METADATA_BYTES: Final = 4 << 10
MAX_DEPTH: Final = 6  # of metadata and of args: what is stored can always be shown again
MAX_ARGV_BYTES: Final = 4 << 10
MAX_ARGV: Final = 64
FUTURE: Final = timedelta(minutes=5)
OLDEST: Final = timedelta(days=7)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SYSCALL: Final = re.compile(r"[a-z0-9_]{1,64}")
_KNOWN_CALLS: Final[set[str]] = set()
_KNOWN_CALLS_LIMIT: Final = 4096

Pid = Annotated[int, Meta(ge=0, le=4_194_304)]
Natural = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Number = Annotated[int, Meta(ge=0, le=1 << 62)]  # the span of two still fits a bigint
Whole = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(max_length=64)]
Call = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}\Z")]
Time = Annotated[datetime, Meta(tz=True)]


class HostEvent(Struct, gc=False):
    """One item as it stands on the wire; every member but ``pid`` may be absent."""

    kind: Literal["call", "exec", "fork", "exit", "calls", "finding", "loss", "inventory"] | None = None
    pid: Pid | None = None
    tid: Pid | None = None
    ppid: Pid | None = None
    parent_start: Natural | None = None
    start: Natural | None = None
    syscall: Name | None = None
    timestamp: Time | Whole | None = None
    seq: Number | None = None
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}\Z")] | None = None
    exe: Text | None = None
    comm: Text | None = None
    args: dict[str, Any] | None = None
    ret: Whole | None = None
    errno: Name | None = None
    names: Annotated[list[Call], Meta(min_length=1, max_length=512)] | None = None
    child_pid: Pid | None = None
    child_start: Natural | None = None
    code: Whole | None = None
    container: Annotated[str, Meta(max_length=255)] | None = None
    rule: Annotated[str, Meta(max_length=255)] | None = None
    priority: Name | None = None
    source: Name | None = None
    tags: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=64)] | None = None
    count: Natural | None = None
    where: Name | None = None
    low: Natural | None = msgspec.field(default=None, name="from")
    high: Natural | None = msgspec.field(default=None, name="to")
    metadata: dict[str, Any] | None = None
    event_type: Any = None  # what an application's event has instead of a syscall


class ItemError(Struct, omit_defaults=True):
    """What is wrong with one item."""

    code: str
    detail: str
    field: str | None = None


@dataclass(slots=True)
class Verdicts:
    """The outcome for a batch: what may be stored, and the errors by index.

    ``skew_ms``: how far the sender's clock is ahead; 0 when its times are good, None when it says none.
    """

    total: int
    events: list[NewEvent] = field(default_factory=list)
    errors: dict[int, ItemError] = field(default_factory=dict)
    skew_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What the verdicts depend on besides the items: names for ids, the fallback key, and the time of receipt."""

    tenant: str
    agent: str
    stream: str | None
    key: str
    received_at: datetime
    oldest: datetime


_CALL: Final = KINDS["call"]
_NEEDED: Final = {
    "call": "syscall", "calls": "names", "fork": "child_pid", "finding": "rule", "loss": "kind",
}  # fmt: skip
_WITHOUT_PROCESS: Final = frozenset({"loss", "finding"})  # they may be about the host as a whole
NOT_STRICT: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NUL_ESCAPE: Final = b"\\u0000"
_item_decoder = msgspec.json.Decoder(HostEvent)
_pack = msgspec.msgpack.Encoder().encode
_FLAT: Final = frozenset({str, int, float, bool, type(None)})
_NOTHING: Final = _pack(Fields())
_PLACE: Final = re.compile(r" - at `\$\.?([^`]*)`$")


class _Refused(Exception):  # noqa: N818 - control flow inside this file
    def __init__(self, error: ItemError) -> None:
        super().__init__(error.code)
        self.error = error


def judge(batch: Batch, items: list[HostEvent | ItemError]) -> Verdicts:
    """Return the verdict on each decoded item, events in the order in which they are to be applied."""
    verdicts = Verdicts(len(items))
    event_id = identifier(batch.tenant, batch.agent)
    oldest, latest = batch.oldest, batch.received_at + FUTURE
    stream = batch.stream
    for index, item in enumerate(items):
        if isinstance(item, ItemError):
            verdicts.errors[index] = item
            continue
        try:
            fields = _fields(item)
            kind = _check(item, 0 if fields is None else len(fields))
            occurred, claimed, flags = item.timestamp, None, 0
            if not (
                isinstance(occurred, datetime) and occurred.tzinfo is UTC and oldest <= occurred <= latest
            ):
                occurred, claimed, flags = _place_in_time(batch, item, latest)
        except _Refused as refused:
            verdicts.errors[index] = refused.error
            continue
        if claimed is not None:
            ahead = (claimed - batch.received_at) // _MILLISECOND
            verdicts.skew_ms = max(verdicts.skew_ms or 0, ahead)
        seq = item.seq
        key = (
            f"{stream}:{seq}" if seq is not None and stream is not None else item.id or f"{batch.key}:{index}"
        )
        verdicts.events.append(
            NewEvent(
                index,
                event_id((occurred - _EPOCH) // _MILLISECOND, key),
                occurred,
                claimed,
                seq,
                item.start,
                item.ret,
                item.pid,
                item.tid,
                kind,
                flags,
                item.syscall,
                fields,
            )
        )
    if verdicts.skew_ms is None and any(event.flags == 0 for event in verdicts.events):
        verdicts.skew_ms = 0
    if stream is not None and all(event.seq is not None for event in verdicts.events):
        verdicts.events.sort(key=_seq_of)
    return verdicts


def decode_item(raw: bytes) -> HostEvent | ItemError:
    """Decode one item of a batch that could not be decoded as a whole: strictly, then leniently."""
    try:
        if NUL_ESCAPE not in raw:
            return _item_decoder.decode(raw)
    except msgspec.ValidationError as error:
        return explain(error)
    except NOT_STRICT:
        pass  # no strict JSON; perhaps only NaN, a surrogate or broken UTF-8
    try:
        return msgspec.convert(finite(decode_leniently(raw)), HostEvent)
    except RecursionError:
        return ItemError("event_invalid", "nested too deep")
    except Unreadable as error:
        return ItemError("event_invalid", str(error))
    except msgspec.ValidationError as error:
        return explain(error)


def finite(value: Any) -> Any:
    """Return the value with NaN, infinities and integers beyond 64 bits as the strings they were."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return value


def explain(error: msgspec.ValidationError) -> ItemError:
    """Return the item error for a violation of the shape: which field, and what was expected."""
    text = str(error)
    found = _PLACE.search(text)
    return ItemError("event_invalid", _PLACE.sub("", text), found.group(1) if found else None)


_MILLISECOND: Final = timedelta(milliseconds=1)


def _seq_of(event: NewEvent) -> int:
    return event.seq or 0


def _check(item: HostEvent, size: int) -> int:
    """Return the kind's code, or refuse; ``size`` is that of the packed fields, in bytes."""
    if size > MAX_EVENT_BYTES:
        raise _Refused(ItemError("event_too_large", f"the event is larger than {MAX_EVENT_BYTES} bytes"))
    call = item.syscall
    if call is not None and call not in _KNOWN_CALLS:
        _check_name(call)
    plain = item.kind is None and call is not None and item.pid is not None
    kind = _CALL if plain else KINDS[_kind_of(item)]
    if item.metadata is not None:
        _check_metadata(item.metadata)
    if item.args is not None:
        _check_args(item.args, size)
    return kind


def _check_name(call: str) -> None:
    """Insist on the form of a system call's name; good ones are remembered."""
    if not _SYSCALL.fullmatch(call):
        raise _Refused(ItemError("event_invalid", "must be 1 to 64 of a-z, 0-9 and _", "syscall"))
    if len(_KNOWN_CALLS) < _KNOWN_CALLS_LIMIT:
        _KNOWN_CALLS.add(call)


def _kind_of(item: HostEvent) -> str:
    """Return the kind of an event that does not just name a call and its process, or refuse it."""
    kind = item.kind or ("call" if item.syscall is not None else None)
    if kind is None and item.event_type is not None:
        raise _Refused(ItemError("wrong_family", "this is an event of an application, not of a host"))
    if kind is None:
        raise _Refused(ItemError("event_invalid", "an event has a syscall or a kind", "kind"))
    needed = _NEEDED.get(kind, "pid")
    if item.pid is None and kind not in _WITHOUT_PROCESS:
        needed = "pid"
    if needed != "kind" and getattr(item, needed) is None:
        raise _Refused(ItemError("event_invalid", f"is required for the kind {kind}", needed))
    return kind


def _check_metadata(metadata: dict[str, Any]) -> None:
    _check_depth(metadata, "metadata")
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise _Refused(ItemError("event_too_large", f"is larger than {MAX_METADATA_BYTES} bytes", "metadata"))


def _check_args(args: dict[str, Any], size: int) -> None:
    if "argv" in args:
        _check_argv(args["argv"])
    for name, value in args.items():
        kind = type(value)
        if kind is str:
            if size > MAX_ARGV_BYTES and len(value) > MAX_ARGV_BYTES:
                raise _Refused(ItemError("event_invalid", "is longer than 4096", f"args.{name}"))
        elif kind is dict or (kind is list and not _FLAT.issuperset(map(type, value))):
            _check_depth(value, "args", 1)


def _check_argv(argv: Any) -> None:
    if argv is None:
        return
    if not isinstance(argv, list) or not all(isinstance(part, str) for part in argv):
        raise _Refused(ItemError("event_invalid", "must be a list of strings", "args.argv"))
    if len(argv) > MAX_ARGV or sum(len(part) for part in argv) > MAX_ARGV_BYTES:
        raise _Refused(ItemError("event_too_large", "is longer than 64 parts or 4 KiB", "args.argv"))


def _check_depth(value: Any, field: str, at: int = 0) -> None:
    layer = [value]
    for _ in range(at, MAX_DEPTH):
        layer = [
            child
            for item in layer
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return
    if any(isinstance(item, (dict, list)) for item in layer):
        raise _Refused(ItemError("event_too_large", f"is nested deeper than {MAX_DEPTH}", field))


def _place_in_time(batch: Batch, item: HostEvent, latest: datetime) -> tuple[datetime, datetime | None, int]:
    """Return (occurred, claimed or None, flags): too old is refused, the far future is set to the receipt."""
    given = item.timestamp
    if given is None:
        return batch.received_at, None, UNTIMED
    if isinstance(given, int):
        try:
            given = _EPOCH + timedelta(microseconds=given // 1000)
        except OverflowError:
            raise _Refused(ItemError("event_invalid", "is not nanoseconds since 1970", "timestamp")) from None
    if given.tzinfo is not UTC:
        try:
            given = given.astimezone(UTC)
        except OverflowError:
            raise _Refused(ItemError("event_invalid", "is beyond the years 1 to 9999", "timestamp")) from None
    if given < batch.oldest:
        raise _Refused(ItemError("event_too_old", "is older than 7 days or the retention", "timestamp"))
    if given > latest:
        return batch.received_at, given, CLAMPED
    return given, None, 0


def _fields(item: HostEvent) -> bytes | None:
    fields = Fields(
        item.exe,
        item.comm,
        item.ppid,
        item.errno,
        item.args or None,
        item.names,
        item.child_pid,
        item.child_start,
        item.code,
        item.container,
        item.rule,
        item.priority,
        item.source,
        item.tags,
        item.count,
        item.where,
        item.low,
        item.high,
        item.metadata or None,
        item.parent_start,
    )
    try:
        packed = _pack(fields)
    except OverflowError:  # MessagePack has no integers beyond 64 bits
        fields.args, fields.metadata = finite(fields.args), finite(fields.metadata)
        packed = _pack(fields)
    return None if packed == _NOTHING else packed
