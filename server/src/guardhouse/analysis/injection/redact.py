"""Names in place of values, the same name for the same value within one text."""

from collections import Counter
from collections.abc import Iterable

from guardhouse.analysis.injection.leak import Leak


def redacted(text: str, leaks: Iterable[Leak]) -> str:
    """Replace each leak by ``[EMAIL_1]`` and the like; of two that overlap the earlier, then the longer, wins."""
    names: dict[tuple[str, str], str] = {}
    used: Counter[str] = Counter()
    pieces: list[str] = []
    done = 0
    for leak in sorted(leaks, key=lambda one: (one.start, -one.end)):
        if leak.start < done:
            done = max(done, leak.end)  # what an overlapping leak adds must not stay readable
            continue
        key = (leak.detector, leak.value)
        if key not in names:
            used[leak.detector] += 1
            names[key] = f"[{leak.detector.upper()}_{used[leak.detector]}]"
        pieces += (text[done : leak.start], names[key])
        done = leak.end
    pieces.append(text[done:])
    return "".join(pieces)
