"""What the folds say together: the figures of the header, the card and the report."""

from collections.abc import Sequence
from typing import Any, Final

from train.calibrate import Outcome, knots
from train.measure import LINES, at_points, auroc, false_positives, line_at, share_above, summary
from train.row import USER
from train.try_folds import Tried

WHOLE: Final = "bipia_whole"
_EVASION_LINE: Final = 0.04


def outcomes_for(tried: Sequence[Tried], channel: str) -> list[Outcome]:
    """Return the outcomes of whole texts of a channel; the harder fold over whole BIPIA is reported by itself."""
    return [o for t in tried if t.fold.channel == channel and t.fold.name != WHOLE for o in t.plain]


def calibration_for(tried: Sequence[Tried], channel: str) -> list[Outcome]:
    """Return the outcomes that the knots come from: those of a channel, and short passages for the first bands."""
    short = [o for t in tried if t.fold.channel == channel and t.fold.name != WHOLE for o in t.short]
    return outcomes_for(tried, channel) + short


def results(tried: Sequence[Tried], channel: str, *, intervals: bool) -> dict[str, Any]:
    """Return the cross-source figures of a channel; every share is between 0 and 1."""
    outcomes = outcomes_for(tried, channel)
    own = [t for t in tried if t.fold.channel == channel and t.fold.name != WHOLE]
    found: dict[str, Any] = summary(outcomes, intervals=intervals)
    found["at_points"] = at_points(outcomes, knots(calibration_for(tried, channel), channel))
    found["false_positives_by_foreign_knots"] = false_positives(calibration_for(tried, channel), channel)
    triggered = [o for t in own for o in t.triggered]
    found["triggered"] = {
        f"{share:.0%}": round(share_above(triggered, line_at(outcomes, share)), 4) for share in LINES
    }
    found["auroc_by_fold"] = {
        t.fold.name: round(auroc(t.plain), 4) for t in own if len({o.label for o in t.plain}) > 1
    }
    if channel == USER:
        found["disguised"] = _disguised(own, line_at(outcomes, _EVASION_LINE))
    whole = [t for t in tried if t.fold.channel == channel and t.fold.name == WHOLE]
    return found | {t.fold.name: summary(t.plain, intervals=False) for t in whole}


def _disguised(tried: Sequence[Tried], line: float) -> dict[str, dict[str, float]]:
    names = sorted({name for t in tried for name in t.disguised})
    return {
        name: {
            word: round(
                share_above([o for t in tried for o in t.disguised[name] if o.label == label], line), 4
            )
            for label, word in ((1, "attacks"), (0, "harmless"))
        }
        for name in names
    }
