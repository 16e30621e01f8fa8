"""Count every event that did not reach the spool or was dropped from it; nothing is lost uncounted.

Identity: produced = stored + counted lost, at every moment, across restarts (the counts live in the spool's
ledger).
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

_LOSS_BEGINS: Final = b'{"kind":"loss",'
SHED = "spool.shed"  # plain calls refused from 80 % full
FULL = "spool.full"  # refused because nothing older could make room
DROPPED = "spool.dropped"  # oldest segments dropped at 100 % full
DISK = "spool.disk"  # the disk refused the write
TOO_LARGE = "collector.too_large"  # over 16 KiB as one event
UNREADABLE = "collector.unreadable"  # a line that the collector could not read
CPU_LIMIT = "collector.cpu_limit"  # left out while the agent held its own CPU use down
KERNEL_AUDIT = "kernel.audit"  # records that the kernel counted as lost, or events whose numbers are missing
OVERRUN = "collector.overrun"  # calls read faster than they could be understood, or left over at the end
GONE = "collector.gone"  # programs that had ended before they could be named
CONNECTOR = "kernel.proc_connector"  # forks, execs and exits that overran the connector's socket
BPFTRACE = "bpftrace"  # calls that bpftrace could not hand over


@dataclass(slots=True)
class Loss:
    """`count` events lost at one place; `since_ns` and `until_ns` bound their times, ns since the epoch.

    `first_seq` and `last_seq` bound the numbers that the lost events had, 0 when they never got one.
    """

    where: str
    count: int
    since_ns: int
    until_ns: int
    first_seq: int = 0
    last_seq: int = 0

    def join(self, other: "Loss") -> None:
        """Take another loss of the same place into this one."""
        self.count += other.count
        self.since_ns = min(self.since_ns, other.since_ns)
        self.until_ns = max(self.until_ns, other.until_ns)
        self.first_seq = min(self.first_seq or other.first_seq, other.first_seq or self.first_seq)
        self.last_seq = max(self.last_seq, other.last_seq)


class LossLedger:
    """What was lost: in all, by place, and what no loss event has told yet."""

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        saved = saved or {}
        self.totals: dict[str, int] = {str(key): int(value) for key, value in saved.get("totals", {}).items()}
        self._untold: dict[str, Loss] = {item["where"]: Loss(**item) for item in saved.get("untold", ())}

    @property
    def total(self) -> int:
        """Events lost in all."""
        return sum(self.totals.values())

    def add(self, loss: Loss) -> None:
        """Count lost events."""
        if loss.count > 0:
            self.totals[loss.where] = self.totals.get(loss.where, 0) + loss.count
            self.put_back(loss)

    def take_untold(self) -> list[Loss]:
        """Return the losses that no event has told yet, and take them as told."""
        untold, self._untold = list(self._untold.values()), {}
        return untold

    def put_back(self, loss: Loss) -> None:
        """Take a loss as untold: its event is still to be written."""
        known = self._untold.get(loss.where)
        if known is None:
            self._untold[loss.where] = replace(loss)
        else:
            known.join(loss)

    def to_json(self) -> dict[str, Any]:
        """Return what `__init__` takes back after a restart."""
        return {"totals": self.totals, "untold": [asdict(loss) for loss in self._untold.values()]}


def loss_event(loss: Loss, ns: int) -> dict[str, Any]:
    """Return the wire's `loss` event: where, how many, between which times (ns), which numbers.

    Events that had a `seq` leave a gap that the server counts by itself; `first_seq` and `last_seq` in
    `metadata` let it see that the gap and this event are the same loss.
    """
    event: dict[str, Any] = {
        "kind": "loss",
        "timestamp": ns,
        "where": loss.where,
        "count": loss.count,
        "from": loss.since_ns,
        "to": loss.until_ns,
    }
    if loss.first_seq:
        event["metadata"] = {"first_seq": loss.first_seq, "last_seq": loss.last_seq}
    return event


def read_loss(payload: bytes) -> Loss | None:
    """Return the loss that a stored event tells, None for any other event."""
    if not payload.startswith(_LOSS_BEGINS):
        return None
    event = json.loads(payload)
    numbers = event.get("metadata", {"first_seq": 0, "last_seq": 0})
    return Loss(event["where"], event["count"], event["from"], event["to"], **numbers)
