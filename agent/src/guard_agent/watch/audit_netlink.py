"""Speak with the kernel's audit system over NETLINK_AUDIT: its settings, its rules, and its records as they come.

Two sockets on purpose: `AuditControl` asks and is answered, `AuditReader` is the one the kernel sends records
to, so that no answer is ever looked for among thousands of records. Source: linux/audit.h, netlink(7).
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from guard_agent.watch.audit_rule import Rule, pack_rule

NETLINK_AUDIT: Final = 9
AUDIT_GET: Final = 1000
AUDIT_SET: Final = 1001
AUDIT_ADD_RULE: Final = 1011
AUDIT_DEL_RULE: Final = 1012
AUDIT_LIST_RULES: Final = 1013
AUDIT_FIRST_RECORD: Final = 1100  # below are requests and their answers
READ_LOG_GROUP: Final = 1  # AUDIT_NLGRP_READLOG
RECEIVE_BYTES: Final = 128 * 1024 * 1024

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_FLAG_REQUEST: Final = 1
_FLAG_ACK: Final = 4
_HEADER: Final = struct.Struct("=IHHII")
_ANSWER_BYTES: Final = 16 * 1024
_ANSWER_SECONDS: Final = 5.0
_SO_RCVBUFFORCE: Final = 33
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1

# The members of `struct audit_status`, and the mask bit that makes AUDIT_SET take one.
_MEMBERS: Final = (
    *("mask", "enabled", "failure", "pid", "rate_limit", "backlog_limit", "lost", "backlog", "features"),
    *("wait_time", "wait_time_actual"),
)
_BITS: Final = {
    "enabled": 1,
    "failure": 2,
    "pid": 4,
    "rate_limit": 8,
    "backlog_limit": 16,
    "wait_time": 32,
    "lost": 64,
}
_STATUS: Final = struct.Struct(f"={len(_MEMBERS)}I")

Record = tuple[int | str, bytes | str]
"""A record's type, number or name, and its text without the type."""


class AuditError(Exception):
    """The kernel refused; `number` is the errno, the text says what was asked and what to do."""

    def __init__(self, asked: str, number: int) -> None:
        super().__init__(f"{asked}: {_explain(number)}")
        self.number = number


def _explain(number: int) -> str:
    known = {
        errno.EPERM: "not permitted: it takes root, or CAP_AUDIT_CONTROL, outside user namespaces;"
        " rules that are locked (`auditctl -e 2`) change only with a reboot",
        errno.EEXIST: "it is there already",
        errno.ECONNREFUSED: "this kernel has no audit here: it is built without, or started with audit=0,"
        " or this is a container",
        errno.EPROTONOSUPPORT: "this kernel is built without audit",
        errno.ETIMEDOUT: "the kernel did not answer",
    }
    return known.get(number, os.strerror(number))


@dataclass(frozen=True, slots=True)
class Status:
    """What the audit system says about itself; `pid` is who holds the record socket, 0 when nobody does.

    `lost` counts records since boot, `wait_time` is in ticks: how long an audited call may wait for the backlog.
    """

    enabled: int
    failure: int
    pid: int
    rate_limit: int
    backlog_limit: int
    lost: int
    backlog: int
    wait_time: int

    def to_json(self) -> dict[str, int]:
        """Return the members by name."""
        return asdict(self)


def _read_status(body: bytes) -> Status:
    # Older kernels send fewer members: what is missing is 0.
    numbers = dict(
        zip(_MEMBERS, _STATUS.unpack(body[: _STATUS.size].ljust(_STATUS.size, b"\0")), strict=True)
    )
    return Status(**{name: numbers[name] for name in Status.__dataclass_fields__})


def _open_socket() -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_AUDIT)
    except (OSError, AttributeError) as error:
        raise AuditError("audit", getattr(error, "errno", None) or errno.EPROTONOSUPPORT) from error
    made.bind((0, 0))
    return made


def _settings_body(values: dict[str, int]) -> bytes:
    numbers = dict.fromkeys(_MEMBERS, 0) | values
    numbers["mask"] = sum(_BITS[name] for name in values)
    return _STATUS.pack(*(numbers[name] for name in _MEMBERS))


class AuditControl:
    """Asks and changes the audit system; every method raises AuditError when the kernel refuses.

    Raises:
        AuditError: this kernel has no audit, or not here.
    """

    def __init__(self) -> None:
        self._socket = _open_socket()
        self._socket.settimeout(_ANSWER_SECONDS)
        self._number = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def status(self) -> Status:
        """Return the settings and counters of now."""
        for kind, body in self._ask(AUDIT_GET, b"", "ask audit for its settings"):
            if kind == AUDIT_GET:
                return _read_status(body)
        raise AuditError("ask audit for its settings", errno.ETIMEDOUT)

    def set(self, **values: int) -> None:
        """Change settings: enabled, failure, pid, rate_limit, backlog_limit, wait_time."""
        asked = "set audit's " + ", ".join(f"{name} to {value}" for name, value in values.items())
        self._do(AUDIT_SET, _settings_body(values), asked)

    def add_rule(self, rule: Rule) -> None:
        """Add a rule; one that is there already is left as it is."""
        try:
            self._do(AUDIT_ADD_RULE, pack_rule(rule), "add an audit rule")
        except AuditError as error:
            if error.number != errno.EEXIST:
                raise

    def delete_rule(self, data: bytes) -> None:
        """Delete the rule that `list_rules` gave as these bytes; one that is gone is no error."""
        try:
            self._do(AUDIT_DEL_RULE, data, "delete an audit rule")
        except AuditError as error:
            if error.number != errno.ENOENT:
                raise

    def list_rules(self) -> list[bytes]:
        """Return all rules as the kernel holds them."""
        return [
            body
            for kind, body in self._ask(AUDIT_LIST_RULES, b"", "list the audit rules", until=_NLMSG_DONE)
            if kind == AUDIT_LIST_RULES
        ]

    def _do(self, kind: int, body: bytes, asked: str) -> None:
        for _ in self._ask(kind, body, asked):
            pass

    def _ask(
        self, kind: int, body: bytes, asked: str, until: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Send a request; yield the answers to it up to the acknowledgement, or up to a message of type `until`."""
        self._number += 1
        number = self._number
        head = _HEADER.pack(_HEADER.size + len(body), kind, _FLAG_REQUEST | _FLAG_ACK, number, 0)
        try:
            self._socket.send(head + body)
            acknowledged = False
            ended = until is None and kind != AUDIT_GET
            while not (acknowledged and ended):
                answer = self._socket.recv(_ANSWER_BYTES)
                _, got, _, of, _ = _HEADER.unpack_from(answer)
                if of != number:
                    continue  # a late answer to an earlier request
                rest = answer[_HEADER.size :]
                if got == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", rest)[0]
                    if code:
                        raise AuditError(asked, code)
                    acknowledged = True
                    continue
                ended = ended or got in (until, AUDIT_GET)
                yield got, rest
        except TimeoutError:
            raise AuditError(asked, errno.ETIMEDOUT) from None
        except OSError as error:
            raise AuditError(asked, error.errno or errno.EIO) from error


class AuditReader:
    """The socket that records come to: as the audit daemon (`take_records`), or beside it (`join_group`).

    `early` are records that came before the kernel acknowledged; `overflows` counts ENOBUFS.
    """

    def __init__(self, receive_bytes: int = RECEIVE_BYTES) -> None:
        self._socket = _open_socket()
        self._early: list[Record] = []
        self._is_daemon = False
        self.overflows = 0
        self.receive_bytes = _enlarge(self._socket, receive_bytes)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def take_records(self) -> None:
        """Become the process that the kernel sends records to.

        Raises:
            AuditError: not permitted, or another daemon has them (EEXIST).
        """
        asked = "take the audit records"
        body = _settings_body({"pid": os.getpid()})
        head = _HEADER.pack(_HEADER.size + len(body), AUDIT_SET, _FLAG_REQUEST | _FLAG_ACK, 1, 0)
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._socket.send(head + body)
            while True:
                answer = self._socket.recv(_ANSWER_BYTES)
                _, kind, _, _, _ = _HEADER.unpack_from(answer)
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
                    if code:
                        raise AuditError(asked, code)
                    break
                if kind >= AUDIT_FIRST_RECORD:
                    self._early.append((kind, answer[_HEADER.size :]))
        except OSError as error:
            raise AuditError(asked, error.errno or errno.ETIMEDOUT) from error
        self._is_daemon = True
        self._socket.settimeout(0)

    def join_group(self) -> None:
        """Read a copy of the records that go to the audit daemon.

        Raises:
            AuditError: not permitted (CAP_AUDIT_READ), or the kernel is older than 3.16.
        """
        try:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, READ_LOG_GROUP)
        except OSError as error:
            raise AuditError("join the audit multicast group", error.errno or errno.EIO) from error
        self._socket.settimeout(0)

    def read(self, most: int) -> list[Record]:
        """Return the records that wait, at most `most`, as (type, text); an overflow is counted."""
        records, self._early = self._early, []
        receive, cut = self._socket.recv, _HEADER.size
        from_bytes = int.from_bytes
        try:
            while len(records) < most:
                data = receive(_ANSWER_BYTES)
                kind = from_bytes(data[4:6], "little")
                if kind >= AUDIT_FIRST_RECORD:
                    records.append((kind, data[cut:]))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.overflows += 1
        return records

    def close(self) -> None:
        """Give the records up, as the daemon would, and close."""
        if self._is_daemon:
            body = _settings_body({"pid": 0})
            head = _HEADER.pack(_HEADER.size + len(body), AUDIT_SET, _FLAG_REQUEST, 2, 0)
            with contextlib.suppress(OSError):
                self._socket.send(head + body)
        self._socket.close()


def _enlarge(made: socket.socket, wanted: int) -> int:
    """Ask for a large receive buffer, beyond the system's limit where we may; return what we got, in bytes."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, option, wanted // 2)  # the kernel doubles it
            break
    return made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
