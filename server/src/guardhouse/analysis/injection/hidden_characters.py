"""Steps 1 to 6 of the normaliser: characters that are not seen, or that only look different.

Sources: Unicode Standard 14.0 (categories, default-ignorable code points), UAX #15 (NFKC). Unassigned code points
are judged by a shipped table, so that Pythons with newer Unicode data give the same reading.
"""

import json
import re
import unicodedata
from bisect import bisect_right
from importlib.resources import files
from typing import Final

from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.offsets import Edit, Reading, decoded, edited
from guardhouse.analysis.injection.plausible import is_plausible

_DATA = files("guardhouse.analysis.injection") / "data"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
BITS_AT_LEAST = 16
COMBINING_SHARE = 0.15

_UNASSIGNED: Final[list[list[int]]] = json.loads((_DATA / "unicode14.json").read_text(encoding="utf-8"))[
    "unassigned"
]
_UNASSIGNED_STARTS: Final = [low for low, _ in _UNASSIGNED]
_LINE_ENDS: Final = re.compile("\r\n?")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TAGS: Final = re.compile("[\U000e0001\U000e0020-\U000e007f]+")
_FLAG: Final = "\U0001f3f4"  # with six tags after it, an ordinary flag of a region
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_SELECTORS_AT_LEAST = 4
_BIDI: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
INVISIBLE: Final = (  # one of them
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
)
_INVISIBLE: Final = re.compile(f"{INVISIBLE}+")
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]")


def without_controls(reading: Reading, found: Findings) -> Reading:
    """Step 1: line ends become LF; other controls go; what Unicode 14.0 does not assign becomes U+FFFD."""
    if "\r" in reading.text:
        reading = edited(reading, [(m.start(), m.end(), "\n") for m in _LINE_ENDS.finditer(reading.text)])
    controls: list[Edit] = [(m.start(), m.end(), "") for m in _CONTROLS.finditer(reading.text)]
    if controls:
        found.flags.add("control")
        reading = edited(reading, controls)
    if not reading.text.isascii():
        unknown = {c for c in set(reading.text) if c > "\x7f" and not is_assigned(c)}
        if unknown:
            found.flags.add("invalid_unicode")
            places = (n for n, c in enumerate(reading.text) if c in unknown)
            reading = edited(reading, [(n, n + 1, REPLACEMENT) for n in places])
    return reading


def is_assigned(c: str) -> bool:
    """Return whether Unicode 14.0 gives a code point a meaning; private use counts as one."""
    place = bisect_right(_UNASSIGNED_STARTS, ord(c)) - 1
    return place < 0 or ord(c) > _UNASSIGNED[place][1]


def without_tags(reading: Reading, found: Findings) -> Reading:
    """Step 2: tag characters U+E0020-E007E say ASCII that no one sees; the text they spell becomes a view."""
    runs = [m for m in _TAGS.finditer(reading.text) if not _is_flag(reading.text, m)]
    if not runs:
        return reading
    spelt: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for run in runs:
        part = reading.part(*run.span())
        spelt.append("".join(chr(ord(c) - 0xE0000) for c in part.text if "\U000e0020" <= c <= "\U000e007e"))
        kept = [n for n, c in enumerate(part.text) if "\U000e0020" <= c <= "\U000e007e"]
        starts += [(part.starts or ())[n] for n in kept]
        ends += [(part.ends or ())[n] for n in kept]
    found.flags.add("tags")
    if text := "".join(spelt):
        found.add("tags", Reading(text, starts, ends))
    return edited(reading, [(m.start(), m.end(), "") for m in runs])


def _is_flag(text: str, run: re.Match[str]) -> bool:
    longest = 6
    return text[run.start() - 1 : run.start()] == _FLAG and run.end() - run.start() <= longest


def without_selectors(reading: Reading, found: Findings) -> Reading:
    """Step 3: variation selectors; four in a row and more may carry bytes, which then become a view."""
    runs = list(_SELECTORS.finditer(reading.text))
    for run in runs:
        if run.end() - run.start() < _SELECTORS_AT_LEAST:
            continue
        codes = bytes(
            ord(c) - 0xFE00 if c <= "\ufe0f" else ord(c) - 0xE0100 + 16
            for c in reading.text[run.start() : run.end()]
        )
        try:
            spelt = codes.decode("utf-8")
        except UnicodeDecodeError:
            continue
        found.add("variation_bytes", decoded(reading, *run.span(), spelt))
    return edited(reading, [(m.start(), m.end(), "") for m in runs])


def without_invisible(reading: Reading, found: Findings) -> Reading:
    """Step 4: zero-width, bidirectional and filler characters; runs of two symbols may be bits of a hidden text."""
    runs = list(_INVISIBLE.finditer(reading.text))
    if not runs:
        return reading
    found.flags.add("zero_width")
    if _BIDI.search(reading.text):
        found.flags.add("bidi")
    for run in runs:
        spelt = _bits(reading.text[run.start() : run.end()])
        if spelt:
            found.add("zero_width_bits", decoded(reading, *run.span(), spelt))
    return edited(reading, [(m.start(), m.end(), "") for m in runs])


def _bits(run: str) -> str | None:
    symbols = sorted(set(run))
    if len(run) < BITS_AT_LEAST or len(symbols) != 2:  # noqa: PLR2004 - a bit has two values
        return None
    for zero in symbols:
        bits = "".join("0" if c == zero else "1" for c in run[: len(run) // 8 * 8])
        try:
            spelt = int(bits, 2).to_bytes(len(bits) // 8, "big").decode("utf-8")
        except UnicodeDecodeError:
            continue
        if is_plausible(spelt):
            return spelt
    return None


def compatible(reading: Reading, found: Findings) -> Reading:
    """Step 5: NFKC, cluster by cluster, so that every code point keeps its place."""
    if unicodedata.is_normalized("NFKC", reading.text):
        return reading
    edits: list[Edit] = []
    for start, end in _clusters(reading.text):
        cluster = reading.text[start:end]
        composed = unicodedata.normalize("NFKC", cluster)
        if composed != cluster:
            edits.append((start, end, composed))
    found.flags.add("compat")
    return edited(reading, edits)


def _clusters(text: str) -> list[tuple[int, int]]:
    """Return the stretches that compose among themselves only: a starter and what may attach to it."""
    borders = [n for n, c in enumerate(text) if n == 0 or not _attaches(c)]
    return list(zip(borders, [*borders[1:], len(text)], strict=True))


def _attaches(c: str) -> bool:
    return c > "\u02ff" and (
        unicodedata.combining(c) != 0
        or "\u1160" <= c <= "\u11ff"  # vowels and finals of Hangul
        or unicodedata.category(c) == "Mc"
        or c in "\uff9e\uff9f"  # half-width voicing marks
    )


def without_marks(reading: Reading, found: Findings) -> Reading:
    """Step 6: combining marks go when they are more than 15 % of the text: nobody writes so."""
    apart = unicodedata.normalize("NFKD", reading.text)
    marks = sum(1 for c in apart if c > "\u02ff" and unicodedata.category(c) == "Mn")
    if marks <= COMBINING_SHARE * len(apart) or _is_of_marks(reading.text):
        return reading
    found.flags.add("combining")
    edits: list[Edit] = []
    for m in _NOT_ASCII.finditer(reading.text):
        bare = "".join(c for c in unicodedata.normalize("NFKD", m[0]) if unicodedata.category(c) != "Mn")
        bare = unicodedata.normalize("NFC", bare)  # Hangul comes apart without marks
        if bare != m[0]:
            edits.append((m.start(), m.end(), bare))
    return edited(reading, edits)


def _is_of_marks(text: str) -> bool:
    """Return whether the text's script writes vowels as marks: Indic, Thai, Arabic and Hebrew do."""
    letters = [c for c in text if c.isalpha()]
    own = sum(1 for c in letters if "\u0590" <= c <= "\u0fff")
    return 2 * own > len(letters)


def clean(reading: Reading, found: Findings) -> Reading:
    """Run steps 1 to 6; ASCII text has controls only."""
    reading = without_controls(reading, found)
    if reading.text.isascii():
        return reading
    for step in (without_tags, without_selectors, without_invisible, compatible, without_marks):
        reading = step(reading, found)
    return reading
