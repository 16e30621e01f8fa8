"""Read the text of one audit record: its head, its `name=value` fields, and what the kernel wrote as hex.

Source: `audit_log_untrustedstring` and `audit_log_format` of the kernel's `kernel/audit.c`. Text that a watched
program controls is quoted, or in hex when it holds a space, a quote or a control character, so a file name can
never pass for a field. Nothing here raises, whatever the text is.
"""

import re
from typing import Final, NamedTuple

from guard_agent.watch.strace_line import MAX_NS, MAX_STRING_BYTES, fit_text

MAX_RECORD_CHARS: Final = 65_536
ENRICHED: Final = "\x1d"
"""Stands between the kernel's own fields and those that auditd translated."""

_HEAD: Final = re.compile(r"\s{0,8}audit\((\d{1,11})\.(\d{1,9}):(\d{1,20})\)\s?:?")
_FIELD: Final = re.compile(
    r"(?<![\w-])([A-Za-z_][\w-]{0,63}(?:\[\d{1,6}\])?)=(\"[^\"]*\"|'[^']*'|[^\s]*)", re.ASCII
)
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z")
_REGISTER: Final = re.compile(r"[0-9A-Fa-f]{1,16}\Z")
_NUMBER: Final = re.compile(r"-?\d{1,20}\Z", re.ASCII)
_NOTHING: Final = frozenset(("(null)", "(none)", "?", ""))

TYPES: Final = {
    "LOGIN": 1006,
    "SYSCALL": 1300,
    "PATH": 1302,
    "SOCKETCALL": 1304,
    "CONFIG_CHANGE": 1305,
    "SOCKADDR": 1306,
    "CWD": 1307,
    "EXECVE": 1309,
    "FD_PAIR": 1317,
    "OBJ_PID": 1318,
    "EOE": 1320,
    "BPRM_FCAPS": 1321,
    "CAPSET": 1322,
    "MMAP": 1323,
    "PROCTITLE": 1327,
    "KERN_MODULE": 1330,
    "BPF": 1334,
    "URINGOP": 1336,
    "OPENAT2": 1337,
}
"""Numbers of the record types that are read here; source: the kernel's `linux/audit.h`."""
USER_SPACE: Final = 1100
"""Stands for every type that user space writes (AUDIT_FIRST_USER_MSG and the ranges of linux/audit.h)."""
_USER_SPACE_NAMES: Final = re.compile(
    r"(?:USER|USYS|CRED|ACCT|ADD|DEL|GRP|ROLE|SERVICE|SYSTEM|DAEMON|CRYPTO|VIRT|LABEL|DEV|RESP|SOFTWARE|CHUSER|CHGRP|FS|TRUSTED)_"
)
_UNKNOWN_TYPE: Final = re.compile(r"(?:UNKNOWN\[)?(\d{1,6})\]?\Z", re.ASCII)


class Head(NamedTuple):
    """When a record was made (ns since the epoch), its serial, and where its fields begin."""

    ns: int
    serial: int
    rest_at: int


def type_number(kind: int | str) -> int:
    """Return a record type's number; 0 for a name that is not read here."""
    if isinstance(kind, int):
        return kind
    known = TYPES.get(kind)
    if known is not None:
        return known
    match = _UNKNOWN_TYPE.match(kind)
    if match is not None:
        return int(match.group(1))
    return USER_SPACE if _USER_SPACE_NAMES.match(kind) else 0


def read_head(text: str) -> Head | None:
    """Return the head of `audit(seconds.fraction:serial): …`, None when there is none."""
    match = _HEAD.match(text)
    if match is None:
        return None
    seconds, fraction, serial = match.groups()
    ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    return None if ns > MAX_NS else Head(ns, int(serial), match.end())


def read_fields(text: str) -> dict[str, str]:
    """Return the fields as written, the first of each name; what auditd added behind 0x1D is left out."""
    if ENRICHED in text:
        text = text.partition(ENRICHED)[0]
    return dict(reversed(_FIELD.findall(text)))


def read_enriched(text: str, name: str) -> str | None:
    """Return one word that auditd translated, such as `SYSCALL`, where the record has it."""
    match = re.search(rf"\b{name}=([a-z0-9_]{{1,64}})(?=\s|\Z)", text.partition(ENRICHED)[2][:512])
    return match.group(1) if match else None


def decode(value: str | None) -> str | None:
    """Return the text that a field means, at most 4,096 bytes; None for `(null)`, `?` and a missing field.

    What is neither quoted nor hex is taken as it stands.
    """
    if value is None or value in _NOTHING:
        return None
    if value[0] == '"':
        return _cut(value.strip('"'))
    if _HEX.match(value):
        return fit_text(bytes.fromhex(value[: 2 * MAX_STRING_BYTES + 8]))
    return _cut(value)


def decode_bytes(value: str | None) -> bytes:
    """Return the bytes of a hex field such as `saddr`, none when it is not hex."""
    return (
        bytes.fromhex(value)
        if value is not None and len(value) <= MAX_RECORD_CHARS and _HEX.match(value)
        else b""
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_STRING_BYTES // 4 else fit_text(text.encode("utf-8", "replace"))


def read_number(value: str | None) -> int | None:
    """Return a decimal field of at most 64 bits, else None."""
    if value is None or not _NUMBER.match(value):
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None


def read_hex(value: str | None) -> int | None:
    """Return a call's argument (`a0=ffffff9c`) as an unsigned number, None when it is none."""
    return int(value, 16) if value is not None and _REGISTER.match(value) else None
