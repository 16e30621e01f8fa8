# This module belongs to guardhouse-agent.
"""Two distributions in one folder: `guard-agent` and `fastapi-guard-agent` before 1.2 own `guard_agent` too.

Beside ours they work by accident or not at all, so their presence is a warning, and a folder with modules of both is an
error. Looks at names of folders and first lines of files only: at most a millisecond, with nothing imported.
"""

import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

MARK = "# This module belongs to guardhouse-agent."
ALLOW = "GUARDHOUSE_AGENT_ALLOW_CLASH"
# The modules that the other distributions have as well.
SHARED_MODULES = (
    "__init__",
    "_version",
    "buffer",
    "client",
    "encryption",
    "exceptions",
    "install_id",
    "logging_utils",
    "models",
    "protocols",
    "signing",
    "transport",
    "utils",
)
REPAIR = (
    "pip uninstall -y guard-agent fastapi-guard-agent guardhouse-agent && "
    "pip install --force-reinstall --no-deps guardhouse-agent"
)
_OTHERS = re.compile(r"(guard[-_]agent|fastapi[-_]guard[-_]agent)-([^-]+)\.dist-info", re.IGNORECASE)
_BEGINNINGS = {"guard", "fasta"}
# fastapi-guard-agent 1.2 and later no longer own the folder.
_FREE_FROM = (1, 2)


def check_folder(folder: Path, search_path: Iterable[str]) -> str | None:
    """Return what clashes with the package in `folder`, None where nothing does; warn of it once.

    Raises:
        ImportError: the folder holds modules of two distributions.
    """
    strangers = [name for name in SHARED_MODULES if _is_foreign(str(folder), name)]
    if strangers:
        raise ImportError(
            f"{folder} holds modules of two distributions (not ours: {', '.join(strangers)}). Repair: {REPAIR}"
        )
    found = find_others([str(folder.parent), *search_path])
    if found is None:
        return None
    if os.environ.get(ALLOW) != "1":
        warnings.warn(
            f"{found} is installed beside guardhouse-agent, and both own the package guard_agent. Repair: {REPAIR} "
            f"(or set {ALLOW}=1)",
            RuntimeWarning,
            stacklevel=3,
        )
    return found


def find_others(search_path: Iterable[str]) -> str | None:
    """Return name and version of another distribution that owns `guard_agent`, None without one."""
    for folder in dict.fromkeys(search_path):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - a Path per name costs more than the whole check may
        except OSError:
            continue  # an archive, or no folder at all
        for name in names:
            match = _OTHERS.fullmatch(name) if name[:5].lower() in _BEGINNINGS else None
            if match and _owns_the_folder(match[1], match[2]):
                return f"{match[1].lower().replace('_', '-')} {match[2]}"
    return None


def search_path() -> list[str]:
    """Return the folders in which distributions may be installed: all but the interpreter's own."""
    interpreter = os.path.dirname(os.__file__)  # noqa: PTH120 - as in find_others
    return [entry for entry in sys.path if entry not in {"", interpreter, f"{interpreter}/lib-dynload"}]


def _owns_the_folder(name: str, version: str) -> bool:
    if not name.lower().startswith("fastapi"):
        return True
    numbers = re.findall(r"\d+", version)[:2]
    return tuple(map(int, numbers)) < _FREE_FROM


def _is_foreign(folder: str, name: str) -> bool:
    """Tell whether a module is there and does not begin with our mark."""
    try:
        descriptor = os.open(f"{folder}/{name}.py", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(MARK)) != MARK.encode()
    finally:
        os.close(descriptor)
