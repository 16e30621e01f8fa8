"""Read a plain question: which options does it name? Nothing is guessed beyond what the sentence says."""

import re
from typing import Final

DO_IT: Final = "Do it"
DO_NOT: Final = "Do not"
FIND_OUT: Final = "Find out first"
CRITERIA: Final = (  # what most decisions have in common; all weigh the same until somebody says otherwise
    "benefit",
    "cost",
    "risk",
    "effort",
    "reversibility",
    "time to result",
)
MOST_OPTIONS: Final = 20
LONGEST: Final = 200
_QUOTES: Final = "\"'()[]\u201c\u201d\u2018\u2019"
_VERSUS: Final = re.compile(r"\s+(?:vs\.?|versus)\s+", re.IGNORECASE)
_LIST: Final = re.compile(r"\s*(?:,|;|\bor\b)\s*", re.IGNORECASE)
_YES_NO: Final = re.compile(
    r"^\s*(?:should|shall|can|could|may|might|must|do|does|did|is|are|am|was|were|will|would|has|have)\b",
    re.IGNORECASE,
)
_LEAD: Final = re.compile(
    r"^\s*(?:should|shall|can|could|do|would)\s+(?:i|we|they|he|she|you|it)\s+", re.IGNORECASE
)
_WHICH: Final = re.compile(r"^\s*(?:which|what|who|where|when)\b[^:,]*[:,]\s*", re.IGNORECASE)


def options_of(question: str) -> tuple[str, ...]:
    """Return the options that a question names, at least two.

    "A or B", "A vs B" and lists name theirs. A question that can be answered with yes has three: do it, do not,
    find out first. So has one that names nothing.
    """
    sentence = question.strip().rstrip("?!. \n")[: LONGEST * MOST_OPTIONS]
    for parts in (_VERSUS.split(sentence), _listed(sentence)):
        named = tuple(dict.fromkeys(_clean(part) for part in parts if _clean(part)))[:MOST_OPTIONS]
        if len(named) > 1:
            return named
    return (DO_IT, DO_NOT, FIND_OUT)


def _listed(sentence: str) -> list[str]:
    if not re.search(r"\bor\b", sentence, re.IGNORECASE):
        return []
    bare = _WHICH.sub("", sentence)
    bare = _LEAD.sub("", bare) if _YES_NO.match(bare) else bare
    return _LIST.split(bare)


def _clean(part: str) -> str:
    text = " ".join(part.split()).strip(_QUOTES)
    return text[:LONGEST]
