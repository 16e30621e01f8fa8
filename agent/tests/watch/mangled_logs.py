# ruff: noqa: ISC004, E501 -- lines of logs are as long as they are
"""Logs with damage, and what must hold whatever the damage: for the tests, and for `tools/fuzz_agent.py`.

Good calls are laid between damaged lines; each must come out as if nothing were around it. The damage never
uses the pids and serials of the good ones.
"""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guard_agent.watch.audit_log import read_audit
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace import read_strace

GOOD_PID: Final = 4_100_000
GOOD_PIDS: Final = 900
MAX_PID: Final = 4_194_304
_NAME: Final = re.compile(r"[a-z0-9_]{1,64}\Z")
_KINDS: Final = frozenset(("call", "calls", "exec", "fork", "exit"))
_HEAD: Final = b"msg=audit(1795305072.%03d:%d): "

AUDIT_SEEDS: Final = tuple(
    line.encode()
    for line in (
        "type=SYSCALL msg=audit(1795305072.084:60342): arch=c000003e syscall=59 success=yes exit=0 a0=55c9 a1=55ca a2=1"
        ' a3=8 items=2 ppid=7698 pid=7716 auid=4242 uid=0 gid=0 euid=0 comm="cat" exe="/usr/bin/cat" key="guardhouse"',
        'type=EXECVE msg=audit(1795305072.084:60342): argc=3 a0="cat" a1=2F746D702F6120622F63 a2="/etc/shadow"',
        "type=EXECVE msg=audit(1795305072.084:60342): argc=2 a0_len=9000 a0[0]=4141414141 a0[1]=42424242",
        'type=CWD msg=audit(1795305072.084:60342): cwd="/srv/cap"',
        'type=PATH msg=audit(1795305072.084:60342): item=0 name="/usr/bin/cat" inode=26 dev=fe:00 nametype=NORMAL',
        "type=PATH msg=audit(1795305072.084:60342): item=1 name=(null) nametype=PARENT",
        "type=PROCTITLE msg=audit(1795305072.084:60342): proctitle=62617368002D63",
        "type=EOE msg=audit(1795305072.084:60342): ",
        "type=SYSCALL msg=audit(1795305072.088:60343): arch=40000003 syscall=102 success=no exit=-115 a0=3 a1=ff a2=10"
        ' a3=0 items=0 ppid=1 pid=77 auid=-1 comm=6120 exe=2F612062 key=(null)\x1dARCH=i386 SYSCALL=socketcall UID="x"',
        "type=SOCKETCALL msg=audit(1795305072.088:60343): nargs=3 a0=5 a1=ffa1 a2=10",
        "type=SOCKADDR msg=audit(1795305072.088:60343): saddr=0200115CCB0071090000000000000000",
        "type=SOCKADDR msg=audit(1795305072.088:60343): saddr=01002F7661722F72756E2F6E7363640000",
        "type=SYSCALL msg=audit(1795305072.090:60344): arch=c00000b7 syscall=56 success=yes exit=3 a0=ffffff9c a1=1"
        ' a2=80000 a3=1b6 items=1 ppid=7698 pid=7717 auid=4242 comm="x" exe="/bin/x" key="guardhouse"',
        "type=SYSCALL msg=audit(1795305072.091:60345): arch=c000003e syscall=56 success=yes exit=7800 a0=1200011 a1=0"
        ' a2=0 a3=7f items=0 ppid=7698 pid=7717 auid=4242 comm="x" exe="/bin/x" key=(null)',
        "type=SYSCALL msg=audit(1795305072.092:60346): arch=c000003e syscall=231 a0=0 a1=e7 a2=3c a3=7f items=0"
        ' ppid=7698 pid=7717 auid=4242 comm="x" exe="/bin/x" key=(null)',
        "type=FD_PAIR msg=audit(1795305072.092:60346): fd0=3 fd1=4",
        'type=OBJ_PID msg=audit(1795305072.092:60346): opid=4321 oauid=-1 ouid=0 oses=-1 ocomm="x"',
        "type=OPENAT2 msg=audit(1795305072.092:60346): oflag=0101102 mode=0600 resolve=0x0",
        'type=KERN_MODULE msg=audit(1795305072.092:60346): name="x"',
        'type=CONFIG_CHANGE msg=audit(1795305072.093:60347): auid=0 ses=1 op="add_rule" key="guardhouse" list=4 res=1',
        "node=web-1 type=USER_LOGIN msg=audit(1795305072.094:60348): pid=1 uid=0 msg='op=login acct=\"root\" res=failed'",
        "type=UNKNOWN[1420] msg=audit(1795305072.094:60348): subj=x",
    )
)
STRACE_SEEDS: Final = tuple(
    line.encode()
    for line in (
        '7716 1795305072.084000 execve("/bin/sh", ["sh", "-c", "id"], 0x7ffd /* 12 vars */) = 0',
        '7716 1795305072.085 openat(AT_FDCWD</srv>, "a/../b", O_RDONLY|O_CLOEXEC) = 3</srv/b>',
        "7716 1795305072.086 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>",
        "7717 1795305072.087 set_robust_list(0x7f, 24) = 0",
        "7716 1795305072.088 <... clone resumed>, child_tidptr=0x7f) = 7717",
        "[pid  7717] 1795305072.09 connect(3<TCP:[1->203.0.113.9:4444]>, {sa_family=AF_INET, sin_port=htons(4444),"
        ' sin_addr=inet_addr("203.0.113.9")}, 16) = -1 EINPROGRESS (Operation now in progress)',
        "7717 12:00:01.5 dup2(3<socket:[12]>, 0</dev/null<char 1:3>>) = 0",
        '7717 12:00:02 memfd_create("x\\303\\251", MFD_CLOEXEC) = 5</memfd:x\\303\\251>(deleted)',
        '7717 1795305073.1 execve("/proc/self/fd/5", ["x"], 0x7 /* 0 vars */) = 0',
        "7717 1795305073.2 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---",
        "7717 1795305073.3 +++ killed by SIGKILL (core dumped) +++",
        "7716 1795305073.4 exit_group(3) = ?",
        "7716 1795305073.5 +++ exited with 3 +++",
        "7716 1795305073.6 mmap(NULL, 4096, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE, -1, 0) = 0x7f0000000000",
        "strace: Process 7717 attached",
        '7716 1795305073.7 chdir("..") = 0',
    )
)


@dataclass(frozen=True, slots=True)
class Format:
    """One reader: seeds to damage, how a good call is written, and how a log is read."""

    name: str
    seeds: tuple[bytes, ...]
    good: Callable[[int], list[bytes]]
    read: Callable[[Iterable[bytes], ReadReport], Iterable[dict[str, Any]]]


def _good_audit(number: int) -> list[bytes]:
    pid, head = GOOD_PID + number % GOOD_PIDS, _HEAD % (number % 1000, 9_000_000_000 + number)
    exe = b'comm="good" exe="/usr/bin/good" key="guardhouse"'
    call = b"arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=7f a2=80000 a3=0 items=1 ppid=2 pid=%d auid=0 "
    return [
        b"type=SYSCALL " + head + call % pid + exe,
        b"type=CWD " + head + b'cwd="/good"',
        b"type=PATH " + head + b'item=0 name="file-%d" nametype=NORMAL' % number,
        b"type=EOE " + head,
    ]


def _good_strace(number: int) -> list[bytes]:
    return [b'%d 1795305072.5 openat(AT_FDCWD, "/good/file-%d", O_RDONLY|O_CLOEXEC) = 3' % (GOOD_PID, number)]


FORMATS: Final = {
    "audit": Format(
        "audit", AUDIT_SEEDS, _good_audit, lambda lines, report: read_audit(lines, report=report)
    ),
    "strace": Format(
        "strace", STRACE_SEEDS, _good_strace, lambda lines, report: read_strace(lines, report=report)
    ),
}


# -- damage -----------------------------------------------------------------------------------------------


def mangle(rng: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """Damage one line in up to four ways."""
    line = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        rng.choice(_DAMAGES)(rng, line, seeds)
        if len(line) > 1 << 17:
            break
    return bytes(line).replace(b"\n", b"\x0b")


def _flip(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    for _ in range(rng.randint(1, 8)):
        if line:
            line[rng.randrange(len(line))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    begin, end = sorted((rng.randint(0, len(line)), rng.randint(0, len(line))))
    del line[begin:end]


def _noise(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    at = rng.randint(0, len(line))
    line[at:at] = rng.randbytes(rng.choice((1, 3, 40, 500)))


def _odd(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    at = rng.randint(0, len(line))
    line[at:at] = rng.choice(_ODD)


def _repeat(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    begin, end = sorted((rng.randint(0, len(line)), rng.randint(0, len(line))))
    line[begin:begin] = bytes(line[begin : min(end, begin + 200)]) * rng.choice((1, 2, 50))


def _splice(rng: random.Random, line: bytearray, seeds: tuple[bytes, ...]) -> None:
    other = rng.choice(seeds)
    line[rng.randint(0, len(line)) :] = other[rng.randint(0, len(other)) :]


def _number(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    numbers = list(re.finditer(rb"[0-9A-Fa-f]{2,}", line))
    if numbers:
        match = rng.choice(numbers)
        line[match.start() : match.end()] = rng.choice(_NUMBERS)


def _long(rng: random.Random, line: bytearray, _seeds: tuple[bytes, ...]) -> None:
    if rng.random() < 0.01:
        at = rng.randint(0, len(line))
        line[at:at] = rng.choice((b"A", b"41", b" a=", b'"', b"\xf0\x9f\xa6\x8a", b"\\x", b"<")) * 100_000


_ODD: Final = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\xa6\x8a", b'"', b"'", b"\\", b"=", b" ", b"(", b")", b"<", b">", b"{",
    b"msg=audit(", b" pid=", b" exe=", b"type=EOE ", b"\x1d", b"\r", b"<unfinished ...>", b"<... ", b" resumed>", b"\xe2\x80\xa8",
)  # fmt: skip
_NUMBERS: Final = (
    b"", b"0", b"-1", b"99999999999999999999999999", b"4194304", b"4194305", b"18446744073709551615", b"ffffffffffffffff",
    b"9223372036854775808", b"0x", b"zz", b"1e9", b"\xd9\xa3", b"4294967296", b"2147483648", b"F",
)  # fmt: skip
_DAMAGES: Final = (_flip, _cut, _noise, _odd, _repeat, _splice, _number, _long)


def damaged_log(
    rng: random.Random, form: Format, good: int, extra: tuple[bytes, ...] = ()
) -> Iterator[bytes]:
    """Yield a log with `good` good calls, up to three damaged lines before each of their lines."""
    seeds = form.seeds + extra
    for number in range(good):
        lines = form.good(number)
        if rng.random() < 0.3:  # the records of a call in any order, its end last
            lines[:-1] = rng.sample(lines[:-1], len(lines) - 1)
        for line in lines:
            for _ in range(rng.randint(0, 3)):
                yield mangle(rng, seeds) if rng.random() < 0.9 else rng.choice(seeds)
            yield line


# -- what must hold ---------------------------------------------------------------------------------------


def check_log(form: Format, lines: Iterable[bytes], good: int) -> ReadReport:
    """Read a damaged log.

    Raises:
        AssertionError: an event that the wire would refuse, a line not counted, or a good call that is gone.
    """
    report = ReadReport()
    found: dict[int, int] = {}
    for event in form.read(lines, report):
        check_event(event)
        number = _good_number(event)
        if number is not None:
            found[number] = found.get(number, 0) + 1
    assert report.lines + report.forks_ahead == (
        report.events + report.unreadable + sum(report.without_event.values())
    ), report
    assert all(len(text.encode()) <= 1024 + 2 for text in report.kept)
    assert found == dict.fromkeys(range(good), 1), sorted(set(range(good)) - set(found))[:5]
    return report


def _good_number(event: dict[str, Any]) -> int | None:
    """Return which good call an event is, whole: it names its file, where it led, and how it was opened."""
    args = event.get("args") or {}
    path = args.get("path2") or args.get("path")
    if event["pid"] < GOOD_PID or event.get("syscall") != "openat" or not isinstance(path, str):
        return None
    match = re.fullmatch(r"/good/file-(\d+)", path)
    return int(match.group(1)) if match and args.get("flags") == ["O_RDONLY", "O_CLOEXEC"] else None


def check_event(event: dict[str, Any]) -> None:
    """Assert what the door of the server asks of an event (section 2.1)."""
    assert event["kind"] in _KINDS, event
    for key in ("pid", "tid", "ppid", "child_pid"):
        assert 0 <= event.get(key, 0) <= MAX_PID, event
    for key in ("timestamp", "start", "child_start"):
        assert 0 <= event.get(key, 0) < 1 << 63, event
    assert -(1 << 63) <= event.get("ret", 0) < 1 << 63, event
    names = event.get("names", [event.get("syscall", "x")])
    assert all(_NAME.match(name) for name in names), event
    assert len(names) <= 512
    json.dumps(event, ensure_ascii=False).encode("utf-8")
    _check_value(event)


def _check_value(value: object) -> None:
    if isinstance(value, str):
        assert len(value.encode()) <= 4096, len(value)
    elif isinstance(value, dict):
        for item in value.values():
            _check_value(item)
    elif isinstance(value, list):
        assert len(value) <= 512
        for item in value:
            _check_value(item)


def extra_seeds(folder: Path | None) -> dict[str, tuple[bytes, ...]]:
    """Return lines of logs in a folder (`*.audit.log`, other `*.log`) as further seeds for the audit reader."""
    if folder is None or not folder.is_dir():
        return {}
    lines = [
        line for path in sorted(folder.rglob("*.log")) for line in path.read_bytes().splitlines() if line
    ]
    return {"audit": tuple(lines)}


# -- what would fill the memory ---------------------------------------------------------------------------


def _hostile_audit() -> Iterator[str]:
    """Many processes with long names, many descriptors with long paths, calls that never end."""
    for number in range(27_000):
        head = f"audit(17953050{number // 1000:02d}.{number % 1000:03d}:{number}): "
        yield (
            f"type=SYSCALL msg={head}arch=c000003e syscall=257 success=yes exit={number % 3 + 3} a0=ffffff9c a1=1 a2=0"
            f' a3=0 items=1 ppid=1 pid={number // 3} auid=0 exe="/{"é" * 1500}{number}"'
        )
        yield f'type=PATH msg={head}item=0 name="/{"p" * 100}{number}" nametype=NORMAL'


def _hostile_strace() -> Iterator[str]:
    """Many processes with long directories and many unnamed files."""
    for pid in range(1, 9_000):
        yield f'{pid} 1795305072.0 chdir("/{"d" * 1000}{pid}") = 0'
        for fd in range(3, 8):
            yield f'{pid} 1795305072.0 memfd_create("{"m" * 240}{pid}-{fd}", 0) = {fd}'


def read_hostile_audit() -> Iterator[dict[str, Any]]:
    """Yield the events of an audit log that names as much as it can."""
    return read_audit(_hostile_audit())


def read_hostile_strace() -> Iterator[dict[str, Any]]:
    """Yield the events of a strace log that names as much as it can."""
    return read_strace(_hostile_strace())
