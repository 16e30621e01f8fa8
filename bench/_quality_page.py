"""The table of the detection benchmark, and its last lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from _quality_folds import DISGUISES, Found

from guardhouse.analysis.injection.calibrate import BORDERS, curve_of, score_milli
from train.calibrate import Outcome, knots
from train.measure import LINES, at_points, line_at, share_above, summary
from train.results import WHOLE, calibration_for, outcomes_for
from train.row import EXTERNAL, USER

_POINTS: Final = (300, 500, 700)
_PROMISED: Final = ("8 %", "4 %", "1 %")
_EVASION_LINE: Final = 0.04
_HEAD: Final = """\
# Detection quality

Written by `python bench/detect_quality.py`. Each figure is about texts of a source that was in no part of the
training, generator included; sources weigh the same; 95 % intervals by 1,000 draws. Keywords and TF-IDF are anchors
of the same run: a rule of seven expressions, and a logistic regression on up to 12,000 of the same training texts.
`--data FOLDER` judges sets of your own.
"""


@dataclass(frozen=True, slots=True)
class LastLine:
    """A figure for ``finish``: name, ours, the anchor's, unit; and its bounds."""

    figure: tuple[str, list[float], list[float], str]
    must: float
    goal: float
    better: str = "higher"


def written(found: Sequence[Found], *, quick: bool) -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    parts += [_channel(found, channel, intervals=not quick) for channel in (USER, EXTERNAL)]
    parts.append(_single(found))
    parts.append(_disguises(found))
    if not quick:
        parts += [_generated(found), _kinds_of_disguise(found)]
    return "\n".join(parts)


def last_lines(found: Sequence[Found]) -> list[LastLine]:
    """Return the figures that have a bound, the main one last."""
    lines: list[LastLine] = []
    for channel, auroc_must in ((EXTERNAL, 0.96), (USER, 0.96)):
        ours = summary(_ours(found, channel), intervals=False)
        anchor = summary(_anchor(found, channel, "tfidf"), intervals=False)
        lines.append(
            _line(f"detect_{channel}_auroc", ours["auroc"], anchor["auroc"], "AUROC", auroc_must, 0.98)
        )
        lines.append(
            _line(
                f"detect_{channel}_recall",
                ours["recall"]["4%"],
                anchor["recall"]["4%"],
                "at 4 % FPR",
                0.85,
                0.92,
            )
        )
    return lines


def _line(name: str, ours: float, anchor: float, unit: str, must: float, goal: float) -> LastLine:
    return LastLine((name, [ours], [anchor], unit), must, goal)


def _tried(found: Iterable[Found], channel: str) -> list:
    return [one.ours for one in found if one.ours is not None and one.channel == channel]


def _ours(found: Sequence[Found], channel: str) -> list[Outcome]:
    return outcomes_for(_tried(found, channel), channel)


def _anchor(found: Sequence[Found], channel: str, name: str) -> list[Outcome]:
    return [o for one in found if one.channel == channel for o in one.anchors.get(name, ())]


def _bands(found: Sequence[Found], channel: str) -> list[list[int]]:
    return knots(calibration_for(_tried(found, channel), channel), channel)


def _channel(found: Sequence[Found], channel: str, *, intervals: bool) -> str:
    rows = [("ours", *_summary(_ours(found, channel), intervals=intervals))]
    rows += [
        (name, *_summary(_anchor(found, channel, name), intervals=intervals))
        for name in ("tfidf", "keywords")
    ]
    tried = [t for t in _tried(found, channel) if t.fold.name != WHOLE]
    triggered = [o for t in tried for o in t.triggered]
    shares = ", ".join(
        f"{share_above(triggered, line_at(_ours(found, channel), share)):.3f} at {share:.0%}"
        for share in LINES
    )
    bands = _bands(found, channel)
    points = at_points(_ours(found, channel), bands)
    whole = [t for t in _tried(found, channel) if t.fold.name == WHOLE]
    for t in whole:
        points |= at_points(t.plain, bands)
    heads = ("detector", "AUROC", *(f"recall at {share:.0%} FPR" for share in LINES))
    return (
        f"## Channel {channel}\n{_table(heads, rows)}\n"
        f"Harmless texts with trigger words put in, flagged at the same lines: {shares}.\n\n"
        f"{_table(('share at or above', '0.30', '0.50', '0.70'), [(n, *v.values()) for n, v in points.items()])}\n"
        f"{_reliability(found, channel)}"
    )


def _summary(outcomes: Sequence[Outcome], *, intervals: bool) -> list[str]:
    said = summary(outcomes, intervals=intervals)
    cells = [_with(said["auroc"], said.get("auroc_95"))]
    return cells + [
        _with(value, said.get("recall_95", {}).get(share)) for share, value in said["recall"].items()
    ]


def _with(value: float, interval: Sequence[float] | None) -> str:
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _reliability(found: Sequence[Found], channel: str) -> str:
    outcomes = [o for o in calibration_for(_tried(found, channel), channel) if not o.label]
    curve = curve_of(_bands(found, channel))
    rows = []
    for band in range(len(BORDERS[channel]) + 1):
        own = [score_milli(curve, o.band, o.logit) for o in outcomes if o.band == band]
        if own:
            rows.append(
                (
                    _name(channel, band),
                    len(own),
                    *(f"{sum(s >= p for s in own) / len(own):.3f}" for p in _POINTS),
                )
            )
    unit = "code points" if channel == USER else "windows"
    promised = tuple(
        f"at 0.{point // 100}0 (promised {share})" for point, share in zip(_POINTS, _PROMISED, strict=True)
    )
    return f"Harmless texts by length, all sources together:\n\n{_table((unit, 'texts', *promised), rows)}"


def _name(channel: str, band: int) -> str:
    borders = BORDERS[channel]
    if band == len(borders):
        return f"over {borders[-1]}"
    return f"{borders[band - 1] + 1 if band else 1} to {borders[band]}"


def _single(found: Sequence[Found]) -> str:
    outcomes = [o for one in found if one.kind == "single" for o in one.plain]
    said = summary(outcomes, intervals=False)
    points = at_points(outcomes, _bands(found, USER))
    flagged = {
        label: [v["0.50"] for name, v in points.items() if name.endswith(label)]
        for label in ("attacks", "harmless")
    }
    means = {label: sum(values) / len(values) for label, values in flagged.items()}
    recall = ", ".join(f"{value} at {share}" for share, value in said["recall"].items())
    return (
        "## Documents without saying that they are documents\n"
        "The same documents sent as `user`: what a system without channels would have to do. AUROC "
        f"{said['auroc']}, recall {recall};\nat 0.50 it flags {means['attacks']:.3f} of attacks and "
        f"{means['harmless']:.3f} of harmless documents.\n"
    )


def _disguises(found: Sequence[Found]) -> str:
    tried = _tried(found, USER)
    line = line_at(_ours(found, USER), _EVASION_LINE)
    clean = {label: _share(tried, "none", label, line) for label in (1, 0)}
    rows = []
    for name in sorted({name for t in tried for name in t.disguised} - {"none"}):
        attacks, harmless = (_share(tried, name, label, line) for label in (1, 0))
        rows.append(
            (
                name,
                f"{attacks:.3f}",
                f"{attacks / clean[1]:.3f}",
                f"{harmless:.3f}",
                f"{harmless - clean[0]:+.3f}",
            )
        )
    heads = ("disguise", "attacks flagged", "recall kept", "harmless flagged", "above clean")
    return (
        f"## In disguise\nLeft-out texts, user channel, at the 4 % line; undisguised {clean[1]:.3f} of attacks and "
        f"{clean[0]:.3f} of harmless texts.\n\n{_table(heads, rows)}"
    )


def _share(tried: Sequence, name: str, label: int, line: float) -> float:
    return share_above([o for t in tried for o in t.disguised[name] if o.label == label], line)


def _generated(found: Sequence[Found]) -> str:
    rows = []
    for one in found:
        if one.kind in {"family", "language"}:
            points = at_points(one.plain, _bands(found, one.channel))
            rows.append((
                f"{one.kind} {one.name}", one.channel,
                *(f"{points[key]['0.50']:.3f}" if (key := f"{one.name} {label}") in points else "-"
                  for label in ("attacks", "harmless")),
            ))  # fmt: skip
    return (
        "## Without a family or a language of the generator\nTrained without it, judged on it, at 0.50. English is in "
        "the folds above.\n\n" + _table(("left out", "channel", "attacks flagged", "harmless flagged"), rows)
    )


def _kinds_of_disguise(found: Sequence[Found]) -> str:
    line = line_at(_ours(found, USER), _EVASION_LINE)
    rows = []
    for one in found:
        if one.kind == "disguise":
            for name in DISGUISES[one.name]:
                shares = [
                    share_above([o for o in one.disguised[name] if o.label == label], line)
                    for label in (1, 0)
                ]
                clean = [share_above([o for o in one.plain if o.label == label], line) for label in (1, 0)]
                rows.append((one.name, name, f"{shares[0] / clean[0]:.3f}", f"{shares[1] - clean[1]:+.3f}"))
    return (
        "## Without a kind of disguise in training\nTexts of `aliakarma`, of which nothing was in training either.\n\n"
        + _table(("kind left out", "disguise", "recall kept", "harmless above clean"), rows)
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"
