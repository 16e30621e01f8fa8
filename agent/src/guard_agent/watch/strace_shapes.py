"""Which argument of which call is kept, and under which key of the wire. Source: their man pages.

One line per call: its arguments in order, `-` where nothing is kept. The words are read by `strace_args`.
"""

from typing import Final

_TABLE: Final = """
execve path argv
execveat dirfd path argv - flags
clone clone_flags
clone3 clone_flags
open path flags mode
openat dirfd path flags mode
openat2 dirfd path how
creat path mode
rename path path2
renameat dirfd path dirfd2 path2
renameat2 dirfd path dirfd2 path2 flags
link path path2
linkat dirfd path dirfd2 path2 flags
symlink source path2
symlinkat source dirfd2 path2
unlink path
unlinkat dirfd path flags
truncate path len
chmod path mode
fchmod fd mode
fchmodat dirfd path mode flags
fchmodat2 dirfd path mode flags
chown path uid gid
lchown path uid gid
fchown fd uid gid
fchownat dirfd path uid gid flags
mknod path mode
mknodat dirfd path mode
setxattr path name
lsetxattr path name
fsetxattr fd name
utime path
utimes path
utimensat dirfd path
futimesat dirfd path
chdir path
fchdir fd
chroot path
dup fd
dup2 fd newfd
dup3 fd newfd flags
socket family flags
connect fd addr
bind fd addr
listen fd
accept fd addr
accept4 fd addr - flags
sendto fd - - - addr
memfd_create name flags
ptrace request target_pid
process_vm_readv target_pid
process_vm_writev target_pid
pidfd_getfd fd
kill target_pid name
tkill target_pid name
tgkill target_pid - name
prctl request name
personality flags
setuid uid
setgid gid
setreuid uid uid
setregid gid gid
setresuid uid uid -
setresgid gid gid -
setfsuid uid
setfsgid gid
unshare flags
setns fd flags
mount source path2 name flags
umount2 path flags
move_mount dirfd path dirfd2 path2 flags
pivot_root path path2
init_module - len name
finit_module fd name flags
delete_module name flags
bpf request
kexec_file_load fd
mmap - len flags - fd
mprotect - len flags
pkey_mprotect - len flags
"""

SHAPES: Final[dict[str, tuple[str, ...]]] = {
    line.split()[0]: tuple(line.split()[1:]) for line in _TABLE.strip().splitlines()
}

# Kept only when the line has one of these texts: writable code, a datagram that names its receiver.
_WRITABLE_CODE: Final = ("PROT_WRITE|PROT_EXEC",)
ONLY_WITH: Final[dict[str, tuple[str, ...]]] = {
    "mmap": _WRITABLE_CODE,
    "mprotect": _WRITABLE_CODE,
    "pkey_mprotect": _WRITABLE_CODE,
    "sendto": ("sa_family=AF_INET", "sa_family=AF_UNIX"),
}


def is_worth_keeping(name: str, text: str) -> bool:
    """Tell whether a call has an argument that the wire has a key for."""
    if name not in SHAPES:
        return False
    needed = ONLY_WITH.get(name)
    return needed is None or any(part in text for part in needed)
