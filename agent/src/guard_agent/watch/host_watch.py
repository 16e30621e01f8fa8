"""Watch this host: audit records and the process connector become events, until a signal ends it.

The default mode. Everything changed in the kernel is put back on the way out, whatever the way is; after a
SIGKILL the next start, or `watch --cleanup`, does it.
"""

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from guard_agent.watch import loss as lost
from guard_agent.watch.alphabet import AUDIT_ALPHABET, AUDITD_ALPHABET
from guard_agent.watch.audit_netlink import Record
from guard_agent.watch.audit_records import Assembler
from guard_agent.watch.audit_set import BUSY_CALLS, OWN_KEY
from guard_agent.watch.audit_source import AuditSource, DaemonSource, NoAuditError, open_source
from guard_agent.watch.cpu_limit import DEFAULT_PERCENT, CpuLimit
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.deliver import Delivery
from guard_agent.watch.intake import Intake
from guard_agent.watch.inventory import take_inventory
from guard_agent.watch.lineage import HOLD_SECONDS, Lineage
from guard_agent.watch.proc_connector import ConnectorError, ProcConnector
from guard_agent.watch.redact import Redactor
from guard_agent.watch.serial_gaps import SYSCALL

MOST_WAITING: Final = 110_000  # records of a burst, some 25 MiB
SLICE_RECORDS: Final = 8_000
LAST_SECONDS: Final = 3.0
WAIT_SECONDS: Final = 0.2
# Woken for every record we would spend our time on waking up; 20 ms together cost nothing that anyone sees.
GATHER_SECONDS: Final = 0.02
LOSS_SECONDS: Final = 1.0

Event = dict[str, Any]
Say = Callable[[str], None]


class NothingToWatchError(Exception):
    """No collector works here; the text says why, one reason per collector."""


@dataclass(frozen=True, slots=True)
class HostPlan:
    """As whom to watch, where to keep state, and how much of the host to use."""

    credentials: Credentials
    state: Path
    add_rules: bool = False
    cpu_percent: float = DEFAULT_PERCENT
    redactor: Redactor = field(default_factory=Redactor)


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP end the watch in an orderly way."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals inside the block, and put the handlers back after it."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def watch_host(plan: HostPlan, say: Say) -> int:
    """Watch until a signal; return 0.

    Raises:
        NothingToWatchError: no collector works here.
        OSError: the state folder cannot be written.
    """
    stop = StopSignals()
    with stop.caught(), ExitStack() as stack:
        source, connector = _open(plan, say)
        stack.callback(_close, source, connector, say)
        alphabet = AUDIT_ALPHABET if source is not None and source.has_own_rules else AUDITD_ALPHABET
        delivery = Delivery(plan.credentials, plan.state, alphabet, say)
        limit = CpuLimit(plan.cpu_percent)
        intake = Intake(delivery.spool, plan.redactor, limit, say, lambda event: _gives_way(source, event))
        watch = HostWatch(source, connector, intake, say)
        try:
            watch.tell_start()
            delivery.start()
            watch.run(stop)
        finally:
            watch.hand_over()
            stack.close()  # the kernel is as found before the last events are sent
            delivery.stop(watch.processes)
    return 0


def _close(source: AuditSource | None, connector: ProcConnector | None, say: Say) -> None:
    if connector is not None:
        connector.close()
    done = None if source is None else source.close()
    if done is not None:
        say(f"stopped: {done}")


def _open(plan: HostPlan, say: Say) -> tuple[AuditSource | None, ProcConnector | None]:
    source: AuditSource | None = None
    connector: ProcConnector | None = None
    reasons = []
    try:
        connector = ProcConnector()
    except ConnectorError as error:
        reasons.append(str(error))
    try:
        source = open_source(plan.state, os.getpid(), say, with_rules=plan.add_rules)
    except NoAuditError as error:
        reasons.append(str(error))
    if source is None and connector is None:
        raise NothingToWatchError(
            f"nothing can be watched here ({'; '.join(reasons)}); `watch -- COMMAND` traces one command without it"
        )
    for reason in reasons:
        say(f"watching with less: {reason}")
    return source, connector


def _gives_way(source: AuditSource | None, event: Event) -> bool:
    """Tell whether an event is left out under the limit: where our busy rules are out, none has to be."""
    return not (source is not None and source.has_own_rules) and event.get("syscall") in BUSY_CALLS


class HostWatch:
    """The open collectors and the loop over them."""

    def __init__(
        self, source: AuditSource | None, connector: ProcConnector | None, intake: Intake, say: Say
    ) -> None:
        self._source, self._connector, self._intake, self._say = source, connector, intake, say
        audited = source is not None and source.has_own_rules
        hold = HOLD_SECONDS if source is not None else 0.0
        self._lineage = Lineage(os.getpid(), calls_are_audited=audited, hold_seconds=hold)
        self._assembler = Assembler(OWN_KEY, own_pids=(os.getpid(),), processes=self._lineage.table)
        self._waiting: deque[Record] = deque()
        self._opened_ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
        self._losses_at = 0.0
        self._connector_lost = self._gone = 0
        # Where the connector alone names programs, it has to be heard at once: the short-lived are gone soon.
        self._gather_seconds = GATHER_SECONDS if audited else 0.0
        self._limited = False
        self._busy = _BusyRate()

    @property
    def processes(self) -> int:
        """Return how many processes were seen."""
        return self._lineage.table.seen

    def tell_start(self) -> None:
        """Say what is watched, and what is not."""
        names = [] if self._source is None else [self._source.name]
        names += [] if self._connector is None else ["process connector"]
        self._say(f"watching this host: {', '.join(names)}; Ctrl-C or SIGTERM ends it")
        if isinstance(self._source, DaemonSource):
            if self._source.rules.refusal is not None:
                self._say(f"an audit rule is missing: {self._source.rules.refusal}")
            if self._source.rules.found.found["enabled"] == 0:
                self._say(
                    "audit was off: processes that run already are seen by what their children do, until they are"
                    " started again (boot with audit=1 to see all from the start)"
                )
        elif self._source is not None and not self._source.has_own_rules:
            self._say(
                "only what the audit daemon's own rules record is seen; --add-rules adds ours beside them"
            )

    def _running_already(self) -> list[Event]:
        """Return the inventory, seeded into the lineage; whose fork the connector has heard is told by that alone."""
        heard: set[int] = set()
        events = []
        for event in take_inventory():
            if event["kind"] == "inventory":
                if self._connector is not None and event["start"] > self._opened_ticks:
                    heard.add(event["pid"])
                    continue
                self._lineage.seed(event)
            if event["pid"] not in heard:
                events.append(event)
        return events

    def run(self, stop: StopSignals) -> None:
        """Collect until a signal."""
        self._intake.take(self._running_already())
        poll = select.poll()
        for made in (self._source, self._connector):
            number = None if made is None else made.fileno()
            if number is not None:
                poll.register(number, select.POLLIN)
        while not stop.asked:
            if not self._waiting and poll.poll(WAIT_SECONDS * 1000):
                time.sleep(self._gather_seconds)
            self._collect()

    def _collect(self) -> None:
        """Read both sockets, audit first: then the fork of every process in the records has been read too.

        Records are read faster than they are understood, so what is left of a burst waits here, not in the
        socket, whose memory holds a fifth as many.
        """
        waiting = self._waiting
        if self._source is not None:
            self._queue(self._source.read(MOST_WAITING))
        if self._connector is not None:
            self._lineage.hear(self._connector.read())
        now = time.time_ns()
        lineage, feed = self._lineage, self._assembler.feed
        events: list[Event] = []
        for _ in range(min(len(waiting), SLICE_RECORDS)):
            completed = feed(*waiting.popleft(), now)
            if completed:
                events += lineage.merge(completed)
        drained = not waiting
        if drained:
            events += lineage.merge(self._assembler.flush(now))
        events += lineage.due(drained=drained)
        self._busy.count(events)
        self._intake.take(events)
        self._follow_limit()
        if time.monotonic() - self._losses_at >= LOSS_SECONDS:
            self._count_losses()

    def _queue(self, records: list[Record]) -> None:
        """Put records behind those that wait; what finds no room is counted here, and not lost in the kernel unseen."""
        room = MOST_WAITING - len(self._waiting)
        self._waiting.extend(records[:room])
        self._intake.count_lost(lost.OVERRUN, _calls(records[room:]))

    def _count_losses(self, *, at_end: bool = False) -> None:
        self._losses_at = time.monotonic()
        self._lineage.clocks.read()
        if self._source is not None:
            for where, count in self._source.losses(at_end=at_end):
                self._intake.count_lost(where, count)
        if self._connector is not None:
            self._intake.count_lost(lost.CONNECTOR, self._connector.lost - self._connector_lost)
            self._connector_lost = self._connector.lost
        self._intake.count_lost(lost.GONE, self._lineage.without_exe - self._gone)
        self._gone = self._lineage.without_exe
        self._intake.count_lost(lost.CPU_LIMIT, self._busy.missed(limited=self._limited))

    def _follow_limit(self) -> None:
        """Take the busy rules out of the kernel while the limit holds: what is not recorded costs nothing."""
        if self._intake.limited != self._limited:
            limited = self._intake.limited
            self._limited = limited and self._source is not None and self._source.limit(on=True)
            if not limited and self._source is not None:
                self._source.limit(on=False)

    def hand_over(self) -> None:
        """Read once more, and put what is still held into the spool."""
        if self._losses_at:
            self._collect()
            deadline = time.monotonic() + LAST_SECONDS
            while self._waiting and time.monotonic() < deadline:
                self._collect()
            self._intake.count_lost(lost.OVERRUN, _calls(self._waiting))
            self._count_losses(at_end=True)
        self._intake.take(self._lineage.merge(self._assembler.finish()) + self._lineage.finish())


def _calls(records: Iterable[Record]) -> int:
    return sum(kind in SYSCALL for kind, _ in records)


class _BusyRate:
    """How many busy calls a second are usual: what the limit leaves out is estimated from it."""

    def __init__(self) -> None:
        self._seen = 0
        self._per_second = 0.0
        self._at = time.monotonic()

    def count(self, events: list[Event]) -> None:
        """Count the busy calls among events."""
        self._seen += sum(event.get("syscall") in BUSY_CALLS for event in events)

    def missed(self, *, limited: bool) -> int:
        """Return how many were missed since the last call: none, or the usual number while limited."""
        now = time.monotonic()
        seconds, self._at = max(now - self._at, 0.001), now
        seen, self._seen = self._seen, 0
        if limited:
            return round(self._per_second * seconds)
        share = min(1.0, seconds / 10)
        self._per_second += (seen / seconds - self._per_second) * share
        return 0
