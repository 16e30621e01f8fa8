"""What one agent's processes did to files and how much of their activity was lost: state shared by processes.

Invariants: at most 4,096 files, each forgotten an hour after its last fact; the loss factor covers the last
600 s of event time and moves in sixteenths.
"""

from typing import Any, Final

WRITTEN_BY_NET = 1 << 0
MADE_EXECUTABLE = 1 << 1
FACTS: Final[dict[str, int]] = {"written_by_net": WRITTEN_BY_NET, "made_executable": MADE_EXECUTABLE}

MAX_FILES: Final = 4_096
KEPT_US: Final = 3_600 * 1_000_000
BUCKET_US: Final = 60 * 1_000_000
BUCKETS: Final = 10
WHOLE: Final = 16


class FileFacts:
    """Facts about files, by inode (`dev:ino`) and by path: bits, time, up to four events."""

    __slots__ = ("changed", "files")

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, int, tuple[bytes, ...]]] = {}  # oldest first
        self.changed = False

    def names(self, path: str | None, inode: object) -> list[str]:
        """Under which names a file is known, the surest first."""
        out = [f"inode {inode}"] if isinstance(inode, str) and inode else []
        if path:
            out.append(path)
        return out

    def get(self, names: list[str], now_us: int) -> tuple[int, tuple[bytes, ...]]:
        """(bits, events) of the first name that is known and not forgotten, else (0, ())."""
        for name in names:
            held = self.files.get(name)
            if held is not None and now_us - held[1] <= KEPT_US:
                return held[0], held[2]
        return 0, ()

    def put(self, names: list[str], bits: int, now_us: int, event_id: bytes) -> None:
        """Add bits to a file under all its names."""
        old_bits, events = self.get(names, now_us)
        if event_id not in events:
            events = (*events[-3:], event_id)
        for name in names:
            self.files.pop(name, None)
            self.files[name] = (old_bits | bits, now_us, events)
        while len(self.files) > MAX_FILES:
            del self.files[next(iter(self.files))]
        self.changed = True

    def move(self, path: str, args: dict[str, Any] | None, *, keep: bool) -> None:
        """The file at `path` was renamed to `args.path2` (`keep`) or unlinked.

        What is known of it goes along.
        """
        held = self.files.pop(path, None)
        if held is None:
            return
        self.changed = True
        new = (args or {}).get("path2")
        if keep and isinstance(new, str):
            self.files.pop(new, None)
            self.files[new] = held

    def pack(self) -> list[Any]:
        """Fields as JSON values, oldest first."""
        return [
            [name, bits, at_us, [event.hex() for event in events]]
            for name, (bits, at_us, events) in self.files.items()
        ]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "FileFacts":
        """The facts that `pack` wrote."""
        facts = cls()
        for name, bits, at_us, events in packed:
            facts.files[name] = (bits, at_us, tuple(bytes.fromhex(event) for event in events))
        return facts


class Losses:
    """Received and lost events per minute of event time; `factor` is g in sixteenths, 16 for nothing lost."""

    __slots__ = ("buckets", "factor", "total_lost", "total_received")

    def __init__(self) -> None:
        self.buckets: list[tuple[int, int, int]] = []  # (minute, received, lost), oldest first
        self.factor = WHOLE
        self.total_lost = 0
        self.total_received = 0

    def add(self, now_us: int, received: int, lost: int) -> bool:
        """Count into the minute of `now_us`; whether the factor moved."""
        minute = now_us // BUCKET_US
        if self.buckets and self.buckets[-1][0] >= minute:
            last, old_received, old_lost = self.buckets[-1]
            self.buckets[-1] = (last, old_received + received, old_lost + lost)
        else:
            self.buckets.append((minute, received, lost))
        newest = self.buckets[-1][0]
        while self.buckets[0][0] <= newest - BUCKETS:
            del self.buckets[0]
        self.total_lost += lost
        self.total_received += received
        got = sum(bucket[1] for bucket in self.buckets)
        gone = sum(bucket[2] for bucket in self.buckets)
        factor = WHOLE * got // (got + gone) if gone else WHOLE
        moved = factor != self.factor
        self.factor = factor
        return moved

    def lost(self) -> int:
        """Events lost in the last ten minutes."""
        return sum(bucket[2] for bucket in self.buckets)

    def received(self) -> int:
        """Events received in the last ten minutes, up to the last full minute or loss."""
        return sum(bucket[1] for bucket in self.buckets)

    def pack(self) -> list[Any]:
        """Fields as JSON values."""
        return [self.factor, self.total_lost, self.buckets, self.total_received]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Losses":
        """The counts that `pack` wrote."""
        losses = cls()
        losses.factor, losses.total_lost, buckets, *received = packed
        losses.total_received = received[0] if received else 0
        losses.buckets = [(minute, received, lost) for minute, received, lost in buckets]
        return losses
