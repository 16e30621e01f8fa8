"""What PostgreSQL said: its logs since a moment, and one sentence made of them."""

from pathlib import Path

START_LOG = "start.log"
_LIMIT_BYTES = 8000
_PORT_TAKEN = "could not bind"


class PostgresLog:
    """The log folder of one cluster. ``mark`` forgets all that was said before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marks: dict[Path, int] = {}

    def mark(self) -> None:
        """Take note of how much has been said; everything later is new."""
        self._marks = {path: path.stat().st_size for path in self.folder.glob("postgres-*.log")}

    def new_lines(self, name: str = START_LOG) -> list[str]:
        """Return what was said since the mark: the named file, which every start empties, and the server's logs."""
        texts = [_read(self.folder / name, 0)]
        texts += [
            _read(path, self._marks.get(path, 0)) for path in sorted(self.folder.glob("postgres-*.log"))
        ]
        return [line.strip() for text in texts for line in text.splitlines() if line.strip()]

    def port_was_taken(self) -> bool:
        """Tell whether the last start failed because somebody else listens on its port."""
        return any(_PORT_TAKEN in line for line in self.new_lines())

    def sentence(self, action: str, lines: list[str], *, home: Path, user: str) -> str:
        """Return one sentence with a remedy: why PostgreSQL could not do ``action``."""
        text = "\n".join(lines)
        if "No space left on device" in text:
            return f"PostgreSQL could not {action}: there is no space left for {home}; free some and start again."
        if "Permission denied" in text:
            return f"PostgreSQL could not {action}: {user} may not write in {home}; correct its owner."
        errors = [line for line in lines if "FATAL" in line or "PANIC" in line or "error" in line.lower()]
        cause = (errors or lines or ["it said nothing"])[-1]
        return f"PostgreSQL could not {action}: {cause} (logs: {self.folder})."


def _read(path: Path, offset: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(offset if offset <= path.stat().st_size else 0, path.stat().st_size - _LIMIT_BYTES))
        return file.read().decode(errors="replace")
