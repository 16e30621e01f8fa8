"""Shift scores by log-odds, and find the shift that holds a target.

A score p becomes the logistic of ln(p / (1 - p)) + s: rising, so the order of texts stays, and undone
by -s. 0 and 1,000 stay what they are: an empty text, a hard finding.
"""

import math
from collections.abc import Mapping
from typing import Final

MOST_MILLI: Final = 3_000  # of log-odds, up or down
_SURE: Final = 1_000
_HIGHEST, _LOWEST = 999, 1


def shifted(score_milli: int, shift_milli: int) -> int:
    """Return a score (thousandths) after a shift (thousandths of log-odds)."""
    if shift_milli == 0 or not _LOWEST <= score_milli <= _HIGHEST:
        return score_milli
    odds = score_milli / (_SURE - score_milli) * math.exp(shift_milli / 1_000)
    return min(max(round(_SURE * odds / (1 + odds)), _LOWEST), _HIGHEST)


def reaching(scores: Mapping[int, int], line_milli: int, shift_milli: int) -> int:
    """Return how many of these texts (counts by score) reach a line after a shift."""
    return sum(count for score, count in scores.items() if shifted(score, shift_milli) >= line_milli)


def shift_for(scores: Mapping[int, int], line_milli: int, target: float) -> int:
    """Return the greatest shift within ±3 of log-odds that at most a share of harmless texts reaches the line after.

    Args:
        scores: Counts of harmless texts by score (thousandths), without any shift.
        line_milli: The block line (thousandths).
        target: The share, 0 to 1.

    Returns:
        Thousandths of log-odds; the lowest there is where none holds the target.
    """
    allowed = math.floor(target * sum(scores.values()))
    low, high = -MOST_MILLI, MOST_MILLI
    while low < high:
        middle = (low + high + 1) // 2
        if reaching(scores, line_milli, middle) <= allowed:
            low = middle
        else:
            high = middle - 1
    return low
