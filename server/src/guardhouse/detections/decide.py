"""From a score to a decision: two thresholds, named by operating points that mean the same in every channel."""

from dataclasses import dataclass
from typing import Final, Literal

Decision = Literal["allow", "review", "block"]
OperatingPoint = Literal["strict", "balanced", "relaxed"]
POINTS: Final[dict[OperatingPoint, tuple[int, int]]] = {  # review, block in thousandths
    "strict": (200, 300),
    "balanced": (300, 500),
    "relaxed": (500, 700),
}
HARD: Final = 1_000  # the score of a finding that no threshold moves
_ONE_READING_LEFT_OUT: Final = "views_truncated"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores (thousandths) from which a text is reviewed and blocked."""

    review: int
    block: int
    operating_point: OperatingPoint


def thresholds_of(point: OperatingPoint, block_at: int | None = None) -> Thresholds:
    """Return the thresholds of an operating point; ``block_at`` replaces its block line and may lower review."""
    review, block = POINTS[point]
    if block_at is None:
        return Thresholds(review, block, point)
    return Thresholds(min(review, block_at), block_at, point)


def decide(score_milli: int, flags: tuple[str, ...], thresholds: Thresholds) -> Decision:
    """Return the decision; a text with more readings than are judged is at least reviewed."""
    if score_milli >= thresholds.block:
        return "block"
    if score_milli >= thresholds.review or _ONE_READING_LEFT_OUT in flags:
        return "review"
    return "allow"
