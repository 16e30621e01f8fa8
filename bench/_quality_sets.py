"""Labelled sets judged by the model that ships, at its fixed thresholds, beside a rule of keywords."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from guardhouse.analysis.injection.score import Engine, Question, judge

BLOCK: Final = 500  # thousandths: the `balanced` line
_AT_ONCE: Final = 64
_KEYWORD: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass|system prompt|jailbreak|developer mode|from now on|you are now)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SetFigures:
    """Figures of one channel of a set; shares are 0 to 1, and None where the set has one label only."""

    name: str
    channel: str
    attacks: int
    harmless: int
    accuracy: float
    attacks_flagged: float | None
    harmless_flagged: float | None
    auroc: float | None
    recall_1: float | None
    recall_5: float | None
    as_user_accuracy: float
    anchor_accuracy: float


def judge_sets(engine: Engine, folder: Path) -> list[SetFigures]:
    """Judge ``<set>/data.jsonl`` of every set below ``folder``, each channel by itself.

    Raises:
        OSError: There is no such folder.
        KeyError, ValueError: A line is no JSON object with ``text``, ``label`` and ``channel``.
    """
    found: list[SetFigures] = []
    for path in sorted(folder.glob("*/data.jsonl")):
        by_channel: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                row = json.loads(line)
                by_channel[row["channel"]].append((row["text"], int(row["label"])))
        found += [_figures(engine, path.parent.name, *one) for one in sorted(by_channel.items())]
    return found


def _figures(engine: Engine, name: str, channel: str, rows: Sequence[tuple[str, int]]) -> SetFigures:
    texts = [text for text, _ in rows]
    labels = np.array([label for _, label in rows], bool)
    scores = _scores(engine, texts, channel)
    flagged = scores >= BLOCK
    as_user = flagged if channel == "user" else _scores(engine, texts, "user") >= BLOCK
    anchor = np.array([bool(_KEYWORD.search(text)) for text in texts])
    both = labels.any() and not labels.all()
    return SetFigures(
        name, channel, int(labels.sum()), int((~labels).sum()),
        float((flagged == labels).mean()),
        float(flagged[labels].mean()) if labels.any() else None,
        float(flagged[~labels].mean()) if not labels.all() else None,
        _auroc(scores, labels) if both else None,
        _recall(scores, labels, 0.01) if both else None,
        _recall(scores, labels, 0.05) if both else None,
        float((as_user == labels).mean()),
        float((anchor == labels).mean()),
    )  # fmt: skip


def _scores(engine: Engine, texts: Sequence[str], channel: str) -> np.ndarray:
    found: list[int] = []
    for n in range(0, len(texts), _AT_ONCE):
        found += [
            j.score_milli for j in judge(engine, [Question(t, channel) for t in texts[n : n + _AT_ONCE]])
        ]
    return np.array(found)


def _auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    values, places = np.unique(scores, return_inverse=True)
    good = np.bincount(places, ~labels, len(values))
    bad = np.bincount(places, labels, len(values))
    below = np.cumsum(good) - good / 2
    return float((bad * below).sum() / (good.sum() * bad.sum()))


def _recall(scores: np.ndarray, labels: np.ndarray, share: float) -> float:
    """Return the share of attacks above the lowest line that at most ``share`` of harmless texts stand above."""
    line = np.sort(scores[~labels])[::-1][int(share * (~labels).sum())]
    return float((scores[labels] > line).mean())


def said(found: Sequence[SetFigures]) -> str:
    """Return the figures as a Markdown table."""
    heads = (
        "set", "channel", "attacks", "harmless", "accuracy at 0.50", "attacks flagged", "harmless flagged", "AUROC",
        "recall at 1 %", "recall at 5 %", "accuracy, all sent as user", "accuracy of keywords",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for one in found:
        cells = [
            one.name, one.channel, one.attacks, one.harmless, one.accuracy, one.attacks_flagged, one.harmless_flagged,
            one.auroc, one.recall_1, one.recall_5, one.as_user_accuracy, one.anchor_accuracy,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
