"""The audit rules of `audit.v1`: which calls, which files, and what is left out so that we never record ourselves.

Two groups: `core` is rare and always kept; `busy` is what the self limit takes out first. Every rule carries
the key `guardhouse`. A rule names calls by the numbers of one ABI; numbers come from the call tables.
"""

import os
import platform
import pwd
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from guard_agent.watch.audit_calls import call_table
from guard_agent.watch.audit_rule import (
    ALWAYS,
    ARCH,
    ARG0,
    DIR,
    FILTER_EXCLUDE,
    FILTER_EXIT,
    KEY,
    MESSAGE_TYPE,
    NEVER,
    PERM,
    PERM_ATTRIBUTES,
    PERM_READ,
    PERM_WRITE,
    PID,
    PPID,
    PREPEND,
    WATCH,
    Field,
    Rule,
)

OWN_KEY: Final = "guardhouse"

# Names of the 32-bit ABI that mean the same stand beside the plain ones; a table that lacks a name skips it.
CORE_CALLS: Final = tuple(
    name
    for line in (
        "execve execveat ptrace process_vm_writev memfd_create",
        "setuid setreuid setresuid setgid setregid setresgid setuid32 setreuid32 setresuid32 setgid32 setregid32",
        "setresgid32 capset unshare setns mount pivot_root init_module finit_module delete_module bpf",
        "kexec_load kexec_file_load bind listen",
    )
    for name in line.split()
)
BUSY_CALLS: Final = tuple(
    name
    for line in (
        "connect accept accept4 dup2 dup3 chmod fchmod fchmodat fchmodat2",
        "rename renameat renameat2 unlink unlinkat",
    )
    for name in line.split()
)
# i386 makes old socket calls through one number, told apart by the first argument.
SOCKET_CALLS: Final = {"bind": 2, "connect": 3, "listen": 4, "accept": 5, "accept4": 18}
# Calls that a file watch is about; the kernel tells reading from writing by their flags (AUDIT_PERM).
FILE_CALLS: Final = tuple(
    name
    for line in (
        "open openat openat2 creat truncate truncate64 link linkat symlink symlinkat rename renameat renameat2",
        "unlink unlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat chown32 fchown32 lchown32",
        "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr mknod mknodat mkdir mkdirat",
    )
    for name in line.split()
)

_ABIS: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "x86_64": (("x86_64", 0xC000003E), ("i386", 0x40000003)),
    "aarch64": (("aarch64", 0xC00000B7),),
}

_WRITE: Final = PERM_WRITE | PERM_ATTRIBUTES
_READ_WRITE: Final = PERM_READ | PERM_WRITE | PERM_ATTRIBUTES
# Paths that the server's rules name. Reading is watched where reading is the act; folders include what is in them.
# What is under /proc and is no folder of settings cannot be watched: its inodes come and go.
WATCHED: Final[tuple[tuple[str, int], ...]] = (
    *((path, _READ_WRITE) for path in ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-")),
    *((path, _READ_WRITE) for path in ("/etc/ssh/", "/root/.ssh/", "/root/.aws/", "/dev/input/")),
    *((path, _READ_WRITE) for path in ("/etc/sudoers", "/etc/sudoers.d/", "/etc/master.passwd")),
    *((path, _READ_WRITE) for path in ("/etc/os-release", "/etc/lsb-release", "/etc/debian_version")),
    *((path, _READ_WRITE) for path in ("/etc/redhat-release", "/etc/issue")),
    *((path, _WRITE) for path in ("/etc/passwd", "/etc/group")),
    *((path, _WRITE) for path in ("/etc/crontab", "/etc/anacrontab", "/etc/cron.d/", "/etc/cron.hourly/")),
    *((path, _WRITE) for path in ("/etc/cron.daily/", "/etc/cron.weekly/", "/etc/cron.monthly/")),
    *((path, _WRITE) for path in ("/var/spool/cron/", "/var/spool/at/")),
    *((path, _WRITE) for path in ("/etc/systemd/", "/run/systemd/system/", "/usr/lib/systemd/system/")),
    *((path, _WRITE) for path in ("/lib/systemd/system/", "/usr/local/lib/systemd/")),
    *(
        (path, _WRITE)
        for path in ("/etc/ld.so.preload", "/etc/ld.so.conf.d/", "/etc/pam.conf", "/etc/pam.d/")
    ),
    *((path, _WRITE) for path in ("/etc/doas.conf", "/etc/polkit-1/", "/etc/security/")),
    *((path, _WRITE) for path in ("/etc/profile", "/etc/profile.d/", "/etc/bash.bashrc", "/etc/zsh/")),
    *((path, _WRITE) for path in ("/etc/init.d/", "/etc/inittab", "/etc/rc.local", "/etc/rc.d/")),
    *((path, _WRITE) for path in ("/etc/udev/", "/lib/udev/rules.d/", "/usr/lib/udev/rules.d/")),
    *((path, _WRITE) for path in ("/etc/audit/", "/etc/audisp/", "/etc/selinux/", "/etc/modprobe.d/")),
    *((path, _WRITE) for path in ("/var/log/", "/run/utmp", "/proc/sys/kernel/", "/sys/fs/selinux/")),
    *((path, _WRITE) for path in ("/proc/sys/fs/binfmt_misc/", "/sys/kernel/uevent_helper")),
    *((path, _WRITE) for path in ("/run/udev/rules.d/", "/sys/kernel/security/apparmor/")),
)
# Below each home that the account list names: folder or file, and what is watched of it.
WATCHED_AT_HOME: Final[tuple[tuple[str, int], ...]] = (
    (".ssh/", _READ_WRITE),
    (".aws/", _READ_WRITE),
    (".config/systemd/", _WRITE),
    *(
        (name, _WRITE)
        for name in (".bashrc", ".profile", ".bash_profile", ".bash_login", ".zshrc", ".zshenv")
    ),
    *((f".{name}_history", _WRITE) for name in ("bash", "zsh", "ash", "mysql", "psql", "python")),
)
MAX_HOMES: Final = 64

_PROCTITLE: Final = 1327
_MAX_NUMBER: Final = 2048  # of the mask of a rule; beyond it are the x32 numbers


@dataclass(frozen=True, slots=True)
class Abi:
    """One ABI of this machine: its name, its AUDIT_ARCH, and the number of each call."""

    name: str
    arch: int
    numbers: Mapping[str, int]


def machine_abis(machine: str | None = None) -> list[Abi]:
    """Return the ABIs that this machine runs and whose calls we know by number.

    Raises:
        LookupError: there is no call table for this machine.
    """
    found = _ABIS.get(machine or platform.machine())
    if found is None:
        raise LookupError(f"no table of system calls for {machine or platform.machine()}")
    return [Abi(name, arch, _by_name(name)) for name, arch in found]


def _by_name(abi: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, name in call_table(abi).items():
        if number < _MAX_NUMBER:
            numbers.setdefault(name, number)
    return numbers


def call_rules(abis: Iterable[Abi], names: Iterable[str], *more: Field) -> list[Rule]:
    """Return the rules that audit the named calls on each ABI; `more` narrows each, to one process for example."""
    rules = []
    wanted = tuple(names)
    for abi in abis:
        numbers = frozenset(abi.numbers[name] for name in wanted if name in abi.numbers)
        rules.append(Rule((Field(ARCH, abi.arch), *more, Field(KEY, OWN_KEY)), numbers))
        through = abi.numbers.get("socketcall")
        for name, number in SOCKET_CALLS.items():
            if through is not None and name in wanted:
                fields = (Field(ARCH, abi.arch), Field(ARG0, number), *more, Field(KEY, OWN_KEY))
                rules.append(Rule(fields, frozenset((through,))))
    return rules


def watch_rules(abis: Iterable[Abi], paths: Iterable[tuple[str, int]]) -> Iterator[Rule]:
    """Yield a rule per ABI for each path that can be watched now: a folder, or a file whose folder exists.

    A path that ends with `/` is a folder; links are followed. What has no folder yet is skipped until the next
    start.
    """
    known = list(abis)
    seen = set()
    for path, permissions in paths:
        real, inside = os.path.realpath(path), path.endswith("/")
        if real in seen or not (os.path.isdir(real) if inside else os.path.isdir(os.path.dirname(real))):  # noqa: PTH112, PTH120 -- the text that realpath gave
            continue
        seen.add(real)
        for abi in known:
            numbers = frozenset(abi.numbers[call] for call in FILE_CALLS if call in abi.numbers)
            fields = (
                Field(ARCH, abi.arch),
                Field(DIR if inside else WATCH, real),
                Field(PERM, permissions),
                Field(KEY, OWN_KEY),
            )
            yield Rule(fields, numbers)


def watched_paths() -> list[tuple[str, int]]:
    """Return the paths of this machine to watch: the fixed ones, and those of at most 64 homes."""
    paths = dict(WATCHED)
    homes = dict.fromkeys(entry.pw_dir for entry in pwd.getpwall() if _has_people(entry))
    for home in list(homes)[:MAX_HOMES]:
        for name, permissions in WATCHED_AT_HOME:
            paths.setdefault(f"{home.rstrip('/')}/{name}", permissions)
    return list(paths.items())


def _has_people(entry: pwd.struct_passwd) -> bool:
    return entry.pw_dir.count("/") > 0 and not entry.pw_shell.endswith(("/nologin", "/false", "/sync"))


def own_rules(pid: int) -> list[Rule]:
    """Return the rules that leave a process and what it starts out of the records, before all others."""
    return [
        Rule((Field(name, pid), Field(KEY, OWN_KEY)), None, NEVER, FILTER_EXIT | PREPEND)
        for name in (PPID, PID)
    ]


def unread_rules() -> list[Rule]:
    """Return the rules that keep the kernel from writing records that we never read: a fifth of all of them."""
    return [Rule((Field(MESSAGE_TYPE, _PROCTITLE), Field(KEY, OWN_KEY)), None, ALWAYS, FILTER_EXCLUDE)]
