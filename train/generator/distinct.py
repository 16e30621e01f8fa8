"""Drawing until there are enough different texts."""

from collections.abc import Callable

from train.row import Row

_PATIENCE = 50  # draws per row; a family that cannot say enough is a fault in its phrases


class TooFewPhrasesError(ValueError):
    """A family repeats itself before it has given the number of rows that was asked for."""


def distinct(count: int, make: Callable[[], Row]) -> list[Row]:
    """Call ``make`` until it has given ``count`` different texts.

    Raises:
        TooFewPhrasesError: After 50 draws per row asked for.
    """
    found: dict[str, Row] = {}
    for _ in range(count * _PATIENCE):
        if len(found) == count:
            return list(found.values())
        row = make()
        found.setdefault(row.text, row)
    if len(found) < count:
        raise TooFewPhrasesError(f"{len(found)} of {count} different texts after {count * _PATIENCE} draws")
    return list(found.values())
