"""Two simple detectors that stand beside ours in the same run: a rule of keywords, and a plain TF-IDF regression."""

import re
from collections.abc import Sequence
from typing import Any, Final

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from train.calibrate import Outcome
from train.materials import Lesson
from train.row import Row

_KEYWORDS: Final = (
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instructions?|rules?|prompts?|above|guidelines?)\b",
    r"\b(?:system|hidden|initial) (?:prompt|message|instructions?)\b",
    r"\b(?:jailbreak|jailbroken|developer mode|do anything now|dan mode)\b",
    r"\byou are now\b|\bfrom now on\b|\bnew instructions?\b",
    r"\b(?:no|without) (?:restrictions?|filters?|rules|limits|guidelines)\b",
    r"\b(?:pretend|act) (?:to be|as|like)\b",
    r"\bpasswords?\b|\bapi keys?\b",
)
_EXPRESSIONS: Final = [re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in _KEYWORDS]
_LONGEST: Final = 3_000
_MOST_LESSONS: Final = 12_000


def keywords(texts: Sequence[str]) -> list[int]:
    """Return how many of the seven expressions each text matches, in thousands."""
    return [1_000 * sum(bool(found.search(text)) for found in _EXPRESSIONS) for text in texts]


class PlainRegression:
    """TF-IDF of words and pairs of words, logistic regression with balanced classes: an afternoon's detector.

    Learns from every n-th lesson, so that at most 12,000 are left.
    """

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        lessons = lessons[:: 1 + len(lessons) // _MOST_LESSONS]
        self._vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        self._model = LogisticRegression(
            C=10, solver="liblinear", dual=True, class_weight="balanced", random_state=0
        )
        vectors: Any = self._vectors.fit_transform([lesson.text for lesson in lessons])
        self._model.fit(vectors, [lesson.label for lesson in lessons])

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Return the logit of each text in thousandths; a text is judged whole."""
        vectors: Any = self._vectors.transform([text[:_LONGEST] for text in texts])
        return [round(1_000 * value) for value in self._model.decision_function(vectors)]


def outcomes(source: str, rows: Sequence[Row], logits: Sequence[int]) -> list[Outcome]:
    """Return outcomes of one source, all in one band."""
    return [Outcome(source, row.label, 0, logit) for row, logit in zip(rows, logits, strict=True)]
