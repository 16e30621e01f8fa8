"""What people said of templates: these are bad, these are allowed (for everyone or for one entity)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Pins:
    """Confirmed templates and allowed ones; a template has one verdict at a time."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.allowed: dict[int, set[str]] = {}
        """Template to entities; the empty name stands for all."""

    def confirm(self, template: int) -> None:
        """Pin a template as bad."""
        self.allowed.pop(template, None)
        self.bad.add(template)

    def allow(self, template: int, entity: str = "") -> None:
        """Allow a template, for one entity if named."""
        self.bad.discard(template)
        self.allowed.setdefault(template, set()).add(entity)

    def remove(self, template: int) -> None:
        """Take every verdict on a template back."""
        self.bad.discard(template)
        self.allowed.pop(template, None)

    def masks(
        self, templates: Sequence[int], index: NDArray[np.int64], entities: Sequence[str]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each event: pinned as bad, allowed. ``index`` gives each event's place among ``templates``."""
        bad = np.fromiter((t in self.bad for t in templates), np.bool_, len(templates))[index]
        allowed = np.zeros(index.size, np.bool_)
        for place, template in enumerate(templates):
            names = self.allowed.get(template)
            if names:
                mine = np.flatnonzero(index == place).tolist()
                allowed[mine] = ["" in names or entities[event] in names for event in mine]
        return bad, allowed

    def to_state(self) -> dict[str, Any]:
        """The pins for ``snapshot``."""
        return {
            "bad": sorted(self.bad),
            "allowed": [[template, sorted(names)] for template, names in sorted(self.allowed.items())],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The pins that ``to_state`` described."""
        made = cls()
        made.bad = set(state["bad"])
        made.allowed = {template: set(names) for template, names in state["allowed"]}
        return made
