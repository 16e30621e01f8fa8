"""Send recorded logs of strace and auditd; the same file twice gives the same stream and numbers: it is stored once.

Stream and boot id come from the SHA-256 of the file's content (and of the day that `-t` times are given).
With `shift`, times move so that the last event is now; then the stream is new in each run, and a run that
was cut short is taken up again with the stream and times it had.
"""

import hashlib
import itertools
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guard_agent.watch import loss as lost
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.door import Door
from guard_agent.watch.loss import Loss
from guard_agent.watch.outbox import Outbox
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.recorded_log import RecordedLog
from guard_agent.watch.redact import redact_event
from guard_agent.watch.sender import Sender, Totals
from guard_agent.watch.spool import Event, Spool
from guard_agent.watch.stream import Stream, read_stream
from guard_agent.watch.streams import close_spool, spool_folder

CHUNK_EVENTS: Final = 2000
FULL_FROM: Final = 0.5
TOO_OLD_SECONDS: Final = 7 * 86_400
MAX_FAILURES: Final = 4
_NS: Final = 1_000_000_000

Say = Callable[[str], None]


class ImportStoppedError(Exception):
    """The file was not sent in full; the message says why, what is kept, and how to go on."""


@dataclass(frozen=True, slots=True)
class Job:
    """One log to import: where it goes, and how its times are read."""

    log: RecordedLog
    credentials: Credentials
    state: Path
    shift: bool = False
    midnight_ns: int = 0
    fold: bool = True


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one log."""

    report: ReadReport
    totals: Totals
    events: int
    lost: int
    stream: str


def derive_id(purpose: str, content: str, day_ns: int | None) -> str:
    """Return a UUID (version 8, RFC 9562) that is the same for the same purpose, file content and day."""
    day = "" if day_ns is None else str(day_ns)
    raw = bytearray(hashlib.sha256(f"{purpose}\0{content}\0{day}".encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def import_log(job: Job, say: Say) -> Imported:
    """Read one log into its spool and send it all.

    Raises:
        ImportStoppedError: the server is away or refuses; what was read stays on the disk.
        OSError: the file or the state folder cannot be used.
    """
    content = job.log.digest()
    spool, shift_ns = _open(job, content, say)
    sender = Sender(Outbox(spool), Door(job.credentials.server), job.credentials.key, say)
    report = ReadReport()
    try:
        if not spool.stream.about["complete"]:
            _fill(job, spool, shift_ns, report, sender)
            _mark_complete(spool)
        _send_all(sender, spool)
        return Imported(report, sender.totals, spool.offered, spool.losses.total, spool.stream.stream)
    finally:
        sender.close()
        close_spool(spool)


def _open(job: Job, content: str, say: Say) -> tuple[Spool, int]:
    """Return the file's spool and its shift in ns; what an earlier run began keeps its stream and shift."""
    begun = _begun(job, content)
    if begun is not None and begun[1].about["complete"]:
        spool = Spool(begun[0])
        say(f"{job.log.name}: going on with {spool.waiting} events that an earlier run left on disk")
        return spool, begun[1].about["shift_ns"] or 0
    day_ns = job.midnight_ns if job.log.needs_day() else None
    name = derive_id("stream", content, day_ns)
    shift_ns: int | None = None
    if begun is not None:
        shutil.rmtree(begun[0])
        name, shift_ns = begun[1].stream, begun[1].about["shift_ns"]
    elif job.shift:
        name, shift_ns = str(uuid.uuid4()), time.time_ns() - _last_time(job)
    about = {
        "source": "import",
        "file": job.log.paths[0].name,
        "sha256": content,
        "shift_ns": shift_ns,
        "complete": False,
    }
    boot = derive_id("boot", content, day_ns)
    stream = Stream(name, job.credentials.key.agent_id, boot, job.log.alphabet(), about)
    return Spool(spool_folder(job.state) / f"import-{name}", stream), shift_ns or 0


def _begun(job: Job, content: str) -> tuple[Path, Stream] | None:
    """Find what an earlier run of the same import, shifted or not, left on the disk."""
    for folder in sorted(spool_folder(job.state).glob("import-*")):
        stream = read_stream(folder)
        if (
            stream is not None
            and stream.agent_id == job.credentials.key.agent_id
            and stream.about.get("sha256") == content
            and (stream.about.get("shift_ns") is not None) == job.shift
        ):
            return folder, stream
    return None


def _read(job: Job, report: ReadReport | None = None) -> Iterator[Event]:
    return job.log.events(fold=job.fold, midnight_ns=job.midnight_ns, report=report)


def _last_time(job: Job) -> int:
    return max((event["timestamp"] for event in _read(job)), default=time.time_ns())


def _shifted(events: Iterator[Event], shift_ns: int) -> Iterator[Event]:
    """Redact events and move their times; program starts and the first event say by how much."""
    first = True
    for event in events:
        redact_event(event)
        if shift_ns:
            event["timestamp"] += shift_ns
            for key in ("start", "child_start"):
                if key in event:
                    event[key] += shift_ns
            if first or event["kind"] == "exec":
                event["metadata"] = event.get("metadata", {}) | {"shifted_ns": shift_ns}
        first = False
        yield event


def _fill(job: Job, spool: Spool, shift_ns: int, report: ReadReport, sender: Sender) -> None:
    events = _shifted(_read(job, report), shift_ns)
    while chunk := list(itertools.islice(events, CHUNK_EVENTS)):
        if spool.fullness >= FULL_FROM:
            _send_all(sender, spool)
        spool.append(chunk)
    if report.unreadable:
        now = time.time_ns()
        spool.count_loss(Loss(lost.UNREADABLE, report.unreadable, now, now))


def _mark_complete(spool: Spool) -> None:
    spool.sync()
    spool.stream.about["complete"] = True
    spool.write_stream()


def _send_all(sender: Sender, spool: Spool) -> None:
    failures = 0
    spool.sync()
    while spool.waiting:
        step = sender.step()
        if step.sent:
            failures = 0
            continue
        failures += 1
        if step.blocked is not None or failures > MAX_FAILURES:
            raise ImportStoppedError(
                f"{step.blocked or 'the server cannot be reached'}; {spool.waiting} events wait on disk:"
                " run the same command again to go on"
            )
        time.sleep(min(step.seconds, 30.0))
