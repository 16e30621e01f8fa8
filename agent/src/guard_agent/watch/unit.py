"""The systemd unit of the agent: shown, or written where systemd looks for it."""

import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import Final

UNIT_NAME: Final = "guardhouse-agent.service"
UNIT_PATH: Final = Path("/etc/systemd/system") / UNIT_NAME
_PROGRAM: Final = "guardhouse-agent"


class UnitError(Exception):
    """The unit cannot be written; the text says why."""


def own_program(argv0: str | None = None) -> str:
    """Return the absolute path of the program that runs now, which the unit is to start.

    Raises:
        UnitError: it has no path of its own.
    """
    given = sys.argv[0] if argv0 is None else argv0
    path = Path(given)
    if path.name == _PROGRAM and path.is_file():
        return str(path.absolute())
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(_PROGRAM)
    if found is None:
        raise UnitError("the program guardhouse-agent is not on the PATH: name it with --program")
    return str(Path(found).absolute())


def unit_text(program: str) -> str:
    """Return the unit that starts `program`.

    Raises:
        UnitError: the path is relative, or holds what a unit gives a meaning to.
    """
    if not program.startswith("/") or any(sign in program for sign in " \t\n\"'\\%$;"):
        raise UnitError(f"{program!r} cannot stand in a unit: give an absolute path without spaces and signs")
    text = resources.files("guard_agent.watch").joinpath(UNIT_NAME).read_text("utf-8")
    return text.replace("@PROGRAM@", program)


def install_unit(program: str, path: Path = UNIT_PATH) -> None:
    """Write the unit.

    Raises:
        UnitError: `program` cannot stand in a unit.
        OSError: the file cannot be written.
    """
    text = unit_text(program)
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, "utf-8")
    draft.chmod(0o644)
    draft.replace(path)
