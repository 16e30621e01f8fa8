# This module belongs to guardhouse-agent.
"""The id of an installation: made once per user of a machine, the same for every process after that."""

import logging
import os
import uuid
from pathlib import Path
from tempfile import NamedTemporaryFile

_logger = logging.getLogger("guard_agent")
_LONGEST = 64
_ephemeral: dict[Path, str] = {}


def resolve_install_id(*, state_path: Path | None = None, override: str | None = None) -> str:
    """Return `override`, else what the file `state_path` holds, else a new UUID that is written there.

    The file is `~/.guard-agent/install-id` unless another is named. Where it can neither be read nor written, the id
    lives as long as this process, and one warning says so; nothing is raised.
    """
    if override:
        return override
    try:
        path = state_path or Path.home() / ".guard-agent" / "install-id"
    except RuntimeError:  # no home folder can be found
        path = Path(".guard-agent", "install-id")
        return _ephemeral_id(path, "there is no home folder")
    try:
        return _read(path) or _write(path)
    except OSError as error:
        return _ephemeral_id(path, str(error))


def _read(path: Path) -> str | None:
    """Return the id in the file; None where there is no file or nothing usable in it."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return text if 0 < len(text) <= _LONGEST and text.isprintable() else None


def _write(path: Path) -> str:
    """Write a new id whole or not at all; of two processes that do so at once, both return the one that stayed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = str(uuid.uuid4())
    with NamedTemporaryFile(
        "w", dir=path.parent, prefix=".install-id-", delete=False, encoding="utf-8"
    ) as file:
        file.write(made)
    try:
        os.link(file.name, path)
    except FileExistsError:
        if kept := _read(path):
            return kept
        Path(file.name).replace(path)  # what stood there was no id
        return made
    finally:
        Path(file.name).unlink(missing_ok=True)
    return made


def _ephemeral_id(path: Path, cause: str) -> str:
    if path not in _ephemeral:
        _ephemeral[path] = str(uuid.uuid4())
        _logger.warning("The install id lives only as long as this process: %s", cause)
    return _ephemeral[path]
