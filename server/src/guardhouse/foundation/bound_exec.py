"""Become another program that ends with its parent: ``bound_exec.py PARENT_PID SIGNAL UID GID PROGRAM ARGS…``.

Run as a script by :mod:`guardhouse.foundation.bound_process`; needs the standard library alone. It drops to
the given user first, because the kernel forgets the death signal whenever a process changes its user.
"""

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
UNCHANGED = -1
PARENT_GONE = 75


def main(arguments: list[str]) -> NoReturn:
    """Drop privileges, bind to the parent and replace this process; exits only when the parent is gone."""
    parent, death_signal, uid, gid = (int(value) for value in arguments[:4])
    program = arguments[4:]
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid != UNCHANGED:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took effect
        sys.exit(PARENT_GONE)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o077)
    os.execv(program[0], program)  # noqa: S606 - replacing this process is its whole purpose


if __name__ == "__main__":
    main(sys.argv[1:])
