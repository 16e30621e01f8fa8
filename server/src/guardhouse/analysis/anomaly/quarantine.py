"""Lines that wait to be learned: a new and dear line is believed only when it comes again in another epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

MOST: Final = 10_000
TIMES: Final = 5
EPOCHS: Final = 2


@dataclass(slots=True)
class Waiting:
    """A waiting line: how often and in how many epochs it was seen."""

    line: bytes
    count: int = 0
    epochs: int = 0


class Quarantine:
    """The waiting lines by template, the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self.dropped = 0
        """Lines that left because there were too many."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, template: int) -> bool:
        return template in self._waiting

    def see(self, template: int, line: bytes, count: int) -> Waiting | None:
        """Count a line's appearances in one epoch; it is handed out when it has waited enough."""
        waiting = self._waiting.setdefault(template, Waiting(line))
        waiting.count += count
        waiting.epochs += 1
        if waiting.count >= TIMES and waiting.epochs >= EPOCHS:
            return self._waiting.pop(template)
        if len(self._waiting) > MOST:
            self._waiting.pop(next(iter(self._waiting)))
            self.dropped += 1
        return None

    def release(self, template: int) -> Waiting | None:
        """Hand out one line, if it waits."""
        return self._waiting.pop(template, None)

    def release_all(self) -> Iterator[tuple[int, Waiting]]:
        """Hand out every line, oldest first."""
        while self._waiting:
            template = next(iter(self._waiting))
            yield template, self._waiting.pop(template)

    def to_state(self) -> dict[str, Any]:
        """The quarantine for ``snapshot``."""
        return {
            "dropped": self.dropped,
            "waiting": [[t, w.line, w.count, w.epochs] for t, w in self._waiting.items()],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The quarantine that ``to_state`` described."""
        made = cls()
        made.dropped = state["dropped"]
        made._waiting = {t: Waiting(line, count, epochs) for t, line, count, epochs in state["waiting"]}
        return made
