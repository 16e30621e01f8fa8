"""Virtual environments with released agents, one per row of ``bench/agent/environments.toml``.

``python tools/agent_environments.py g3`` makes one and prints its interpreter; ``lock`` rewrites the hash locks.
They lie in ``.venvs/agents-<row>`` and are made anew when the row's lock or, for rows of our own agent, its source
changes. Needs the package index that pip is configured for, and the project's own environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "bench" / "agent" / "environments.toml"
HOME = ROOT / ".venvs"
QUIET = ("--disable-pip-version-check", "--no-input", "--quiet")
LOCK_OPTIONS = "--quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url"


class NotInstalledError(Exception):
    """An environment could not be made; the message ends with what pip said."""


def rows() -> dict[str, Any]:
    """Return the rows of the list by name."""
    return tomllib.loads(LIST.read_text(encoding="utf-8"))


def interpreter(row: str) -> Path:
    """Return the interpreter of a row's environment, which is made first where it is missing or out of date.

    Raises:
        NotInstalledError: pip failed, most often because no package index answered.
    """
    HOME.mkdir(exist_ok=True)
    place = HOME / f"agents-{row}"
    python, stamp = place / "bin" / "python", place / "made-of"
    with (HOME / f"agents-{row}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        wanted = _digest(row)
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            return python
        shutil.rmtree(place, ignore_errors=True)
        venv.EnvBuilder(with_pip=True).create(place)
        _run([python, "-m", "pip", "install", *QUIET, "--require-hashes", "-r", _lock(row)])
        if rows()[row].get("ours"):
            _run([python, "-m", "pip", "install", *QUIET, "--no-deps", _wheel(place)])
        stamp.write_text(wanted, encoding="ascii")
    return python


def _wheel(place: Path) -> Path:
    """Build the agent of this checkout, as a user would get it."""
    made = place / "wheel"
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(made))
    _run([sys.executable, "-m", "pip", "wheel", *QUIET, *options, ROOT / "agent"])
    return next(made.glob("*.whl"))


def _run(command: list[str | Path]) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalledError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"[-4000:])


def _digest(row: str) -> str:
    """Return a word that changes when anything in the environment would."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.platform}".encode())
    digest.update(_lock(row).read_bytes())
    if rows()[row].get("ours"):
        for path in sorted([ROOT / "agent" / "pyproject.toml", *(ROOT / "agent" / "src").rglob("*.py")]):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _lock(row: str) -> Path:
    return ROOT / "locks" / f"agents-{row}.txt"


def lock() -> None:
    """Rewrite the hash lock of each row; versions already locked stay unless they must move."""
    for row, content in rows().items():
        subprocess.run(
            [
                Path(sys.executable).parent / "uv",
                *f"pip compile {LOCK_OPTIONS} - -o {_lock(row).relative_to(ROOT)}".split(),
            ],
            input="\n".join(content["requirements"]),
            text=True,
            check=True,
            cwd=ROOT,
        )


if __name__ == "__main__":
    for name in sys.argv[1:] or rows():
        if name == "lock":
            lock()
        else:
            print(interpreter(name))
