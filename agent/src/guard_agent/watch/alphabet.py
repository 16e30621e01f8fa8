"""The call sets of launch mode and their names on the wire; a published name never changes its members."""

from typing import Final

SET_ALPHABET: Final = "strace.set.v1"
FULL_ALPHABET: Final = "strace.full.v1"
AUDIT_ALPHABET: Final = "audit.v1"
DEEP_ALPHABET: Final = "bpf.full.v1"
AUDITD_ALPHABET: Final = "auditd.v1"
"""An imported audit log of whatever rules its host had: no set that one knows, so never mixed with ours."""

# What `strace.set.v1` traces: program starts, identity, files whose path or mode matters, descriptors that
# become standard streams, sockets, namespaces, kernel doors. Reading and writing data, memory and time are
# left out: they are hot and carry no argument that a rule reads.
CALL_SET: Final[frozenset[str]] = frozenset(
    name
    for line in (
        "execve execveat fork vfork clone clone3",
        "open openat openat2 creat rename renameat renameat2 unlink unlinkat",
        "link linkat symlink symlinkat truncate",
        "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat mknod mknodat",
        "setxattr lsetxattr fsetxattr utime utimes utimensat futimesat chdir fchdir chroot",
        "dup dup2 dup3 socket connect bind listen accept accept4 memfd_create",
        "ptrace process_vm_readv process_vm_writev pidfd_getfd kill prctl personality",
        "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset",
        "unshare setns mount umount2 pivot_root move_mount",
        "init_module finit_module delete_module bpf kexec_load kexec_file_load iopl ioperm",
    )
    for name in line.split()
)

FORK_CALLS: Final[frozenset[str]] = frozenset(("fork", "vfork", "clone", "clone3"))
EXEC_CALLS: Final[frozenset[str]] = frozenset(("execve", "execveat"))


def trace_expression() -> str:
    """Return the value of strace's `-e trace=`; `?` lets an older strace, or another CPU, lack a name."""
    return ",".join("?" + name for name in sorted(CALL_SET))
