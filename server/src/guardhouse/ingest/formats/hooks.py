"""Names under which tools report a system call: entry points, security hooks, tracepoints; and what their numbers mean.

Sources: the Linux man pages; include/linux/lsm_hooks of the kernel for the hooks.
"""

import re
from typing import Any, Final

from guardhouse.ingest.formats.reading import call_name, whole

_ENTRY: Final = re.compile(
    r"^(?:__(?:x64|ia32|arm64|se|do)_(?:compat_)?sys_|do_sys_|ksys_|sys_(?:enter_|exit_)?|tracepoint_)"
)
# A hook of the kernel, and the call that it stands for in the rules.
HOOKS: Final = {
    "tcp_connect": "connect",
    "tcp_v4_connect": "connect",
    "tcp_v6_connect": "connect",
    "security_socket_connect": "connect",
    "socket_connect": "connect",
    "security_socket_listen": "listen",
    "socket_listen": "listen",
    "inet_listen": "listen",
    "inet_csk_listen_start": "listen",
    "security_socket_accept": "accept4",
    "socket_accept": "accept4",
    "inet_csk_accept": "accept4",
    "security_socket_bind": "bind",
    "socket_bind": "bind",
    "security_socket_create": "socket",
    "socket_create": "socket",
    "tcp_close": "tcp_close",
    "security_file_open": "openat",
    "security_file_permission": "openat",
    "file_open": "openat",
    "vfs_open": "openat",
    "security_path_truncate": "truncate",
    "path_truncate": "truncate",
    "security_inode_unlink": "unlink",
    "security_path_unlink": "unlink",
    "path_unlink": "unlink",
    "inode_unlink": "unlink",
    "security_inode_rename": "rename",
    "security_path_rename": "rename",
    "path_rename": "rename",
    "inode_rename": "rename",
    "security_path_chmod": "chmod",
    "path_chmod": "chmod",
    "security_inode_symlink": "symlink",
    "security_inode_mknod": "mknod",
    "security_sb_mount": "mount",
    "sb_mount": "mount",
    "security_bpf": "bpf",
    "security_bpf_prog": "bpf",
    "security_bpf_prog_load": "bpf",
    "bpf_check": "bpf",
    "security_ptrace_access_check": "ptrace_access",
    "do_init_module": "init_module",
    "init_module": "init_module",
    "security_kernel_load_data": "kernel_load_data",
    "switch_task_ns": "setns",
    "commit_creds": "commit_creds",
}
OPENS: Final = frozenset({"open", "openat", "openat2", "creat"})
_OPEN_FLAGS: Final = ((0o100, "O_CREAT"), (0o200, "O_EXCL"), (0o1000, "O_TRUNC"), (0o2000, "O_APPEND"))
_ACCESS: Final = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_RDWR")
_NAMESPACES: Final = (
    (0x00020000, "CLONE_NEWNS"), (0x02000000, "CLONE_NEWCGROUP"), (0x04000000, "CLONE_NEWUTS"),
    (0x08000000, "CLONE_NEWIPC"), (0x10000000, "CLONE_NEWUSER"), (0x20000000, "CLONE_NEWPID"),
    (0x40000000, "CLONE_NEWNET"),
)  # fmt: skip
_REQUESTS: Final = {
    4: "PTRACE_POKETEXT", 5: "PTRACE_POKEDATA", 6: "PTRACE_POKEUSR", 13: "PTRACE_SETREGS",
    15: "PTRACE_SETFPREGS", 16: "PTRACE_ATTACH", 0x4205: "PTRACE_SETREGSET", 0x4206: "PTRACE_SEIZE",
}  # fmt: skip
MAY_WRITE: Final = 2
MAY_APPEND: Final = 8


def call_of(name: Any) -> tuple[str | None, bool]:
    """Return the call that a probe's name stands for, and whether it is one of the kernel's hooks."""
    if not isinstance(name, str):
        return None, False
    hooked = HOOKS.get(name.lower())
    return (hooked, True) if hooked is not None else (call_name(_ENTRY.sub("", name.lower())), False)


def flags_of(call: str, value: Any) -> list[str] | None:
    """Return flags by name: from a text with bars, from a list, or from the number of an open or of namespaces."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)] or None
    if isinstance(value, str) and not value.isdigit():
        return [part.strip() for part in value.split("|") if part.strip()][:64] or None
    number = whole(value)
    if number is None or number < 0:
        return None
    if call in OPENS:
        return [_ACCESS[number & 3], *(name for bit, name in _OPEN_FLAGS if number & bit)]
    if call in ("unshare", "setns", "clone"):
        return [name for bit, name in _NAMESPACES if number & bit] or None
    return None


def access_flags(mask: int | None) -> list[str]:
    """Return what the mask of a permission hook asks for, as flags of an open."""
    return ["O_WRONLY" if mask is not None and mask & (MAY_WRITE | MAY_APPEND) else "O_RDONLY"]


def request_of(value: Any) -> str | None:
    """Return a request of ptrace by name."""
    if isinstance(value, str) and not value.isdigit():
        return value[:64] or None
    number = whole(value)
    return None if number is None else _REQUESTS.get(number, str(number))
