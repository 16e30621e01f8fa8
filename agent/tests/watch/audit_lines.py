"""Writes audit records as the kernel does, and feeds them to an assembler, each call with its own serial."""

from typing import Any

from guard_agent.watch.audit_records import Assembler
from guard_agent.watch.read_report import ReadReport

X86, I386, ARM = "c000003e", "40000003", "c00000b7"
Record = tuple[str, str]


def registers(*values: int) -> str:
    filled = (*values, 0, 0, 0, 0)[:4]
    return " ".join(f"a{at}={value & (2**64 - 1):x}" for at, value in enumerate(filled))


def call(
    number: int,
    *values: int,
    arch: str = X86,
    result: str = "success=yes exit=0",
    pid: int = 20,
    ppid: int = 10,
    exe: str = '"/usr/bin/python3"',
) -> Record:
    """The SYSCALL record of one call."""
    return (
        "SYSCALL",
        (
            f"arch={arch} syscall={number} {result} {registers(*values)} items=1 ppid={ppid} pid={pid} auid=1000"
            f' uid=0 gid=0 euid=0 tty=pts0 ses=1 comm="x" exe={exe} key="guardhouse"'
        ),
    )


class Desk:
    """Feeds calls to one assembler, each with its own serial and an end."""

    def __init__(self, **options: Any) -> None:
        self.assembler = Assembler(**options)
        self.serial = 100

    def feed(self, *records: Record, end: bool = True, at: int = 0) -> list[dict[str, Any]]:
        self.serial += 1
        head = f"audit(1700000000.{self.serial % 1000:03d}:{self.serial}): "
        events = []
        for kind, text in (*records, *([("EOE", "")] if end else [])):
            events += self.assembler.feed(kind, head + text, at)
        return events

    def one(self, *records: Record) -> dict[str, Any]:
        (event,) = self.feed(*records)
        return event


def path(item: int, name: str, kind: str = "NORMAL") -> Record:
    return "PATH", f'item={item} name="{name}" inode=5 dev=fe:00 mode=0100644 nametype={kind}'


def sockaddr(text: str) -> Record:
    return "SOCKADDR", f"saddr={text}"


CWD: Record = ("CWD", 'cwd="/srv"')
PEER = sockaddr("0200115CCB0071090000000000000000")


def identity(report: ReadReport) -> bool:
    return report.lines == report.events + report.unreadable + sum(report.without_event.values())
