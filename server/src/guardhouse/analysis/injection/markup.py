"""Steps 8 to 11 of the normaliser: entities, hidden parts of HTML, escapes, letters set apart.

Every scan goes forward only: an opening without its end stops the search instead of starting it again.
"""

import html
import re
from typing import Final

from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.offsets import Edit, Reading, edited

ROUNDS = 2
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_PERCENT: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ALONE_AT_LEAST = 3
_BACKSLASH: Final = re.compile(r"\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[0-3][0-7]{2}")
_ESCAPES_AT_LEAST = 3
_SPACED: Final = re.compile(r"(?<![^\W_])[^\W_]([ .\-_*~·|])(?:[^\W_]\1{1,2}){2,}[^\W_](?![^\W_])")
_HIDDEN: Final = re.compile(
    r"(?:\shidden\b|aria-hidden\s{0,4}=\s{0,4}[\"']?true|display\s{0,4}:\s{0,4}none|visibility\s{0,4}:\s{0,4}hidden"
    r"|font-size\s{0,4}:\s{0,4}0|opacity\s{0,4}:\s{0,4}0(?![.\d]*[1-9])"
    r"|(?<!-)color\s{0,4}:\s{0,4}(?:white|#fff(?:fff)?\b))",
    re.IGNORECASE,
)
_SAID: Final = re.compile(
    r"\b(?:alt|title)\s{0,4}=\s{0,4}(?:\"([^\"]{1,2000})\"|'([^']{1,2000})')", re.IGNORECASE
)
_TAG_AT_MOST = 4_000


def without_entities(reading: Reading, found: Findings) -> Reading:
    """Step 8, first half: character references, two rounds deep."""
    for _ in range(ROUNDS):
        if "&" not in reading.text:
            break
        edits = [
            (m.start(), m.end(), plain)
            for m in _ENTITY.finditer(reading.text)
            if (plain := html.unescape(m[0])) != m[0]
        ]
        if not edits:
            break
        found.flags.add("html")
        reading = edited(reading, edits)
    return reading


def hidden_html(reading: Reading, found: Findings) -> None:
    """Step 8, second half, for documents: what a browser does not show becomes one view."""
    text = reading.text
    if "<" not in text:
        return
    stretches = [*_comments(text), *_unseen(text)]
    if not stretches:
        return
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(stretches):
        part = reading.part(start, end)
        place = reading.span(start, end)
        pieces.append(part.text + "\n")
        starts += [*(part.starts or ()), place[1]]
        ends += [*(part.ends or ()), place[1]]
    found.flags.add("html")
    found.add("html_hidden", Reading("".join(pieces), starts, ends))


def _comments(text: str) -> list[tuple[int, int]]:
    stretches: list[tuple[int, int]] = []
    place = text.find("<!--")
    while place >= 0:
        end = text.find("-->", place + 4)
        stretches.append((place + 4, end if end >= 0 else len(text)))
        if end < 0:
            break
        place = text.find("<!--", end + 3)
    return [(start, end) for start, end in stretches if text[start:end].strip()]


def _unseen(text: str) -> list[tuple[int, int]]:
    stretches: list[tuple[int, int]] = []
    place = text.find("<")
    while place >= 0:
        end = text.find(">", place)
        if end < 0:
            break
        if end - place > _TAG_AT_MOST or text.startswith("<!--", place):
            place = text.find("<", place + 1)
            continue
        tag = text[place : end + 1]
        for said in _SAID.finditer(tag):
            group = 1 if said[1] is not None else 2
            stretches.append((place + said.start(group), place + said.end(group)))
        place = text.find("<", end)
        if _HIDDEN.search(tag) and not tag.startswith("</"):
            stop = place if place >= 0 else len(text)
            if text[end + 1 : stop].strip():
                stretches.append((end + 1, stop))
    return stretches


def without_percent(reading: Reading, found: Findings) -> Reading:
    """Step 9: percent escapes, two rounds deep: two and more in a row, single ones where a text has three."""
    for _ in range(ROUNDS):
        if "%" not in reading.text:
            break
        edits: list[Edit] = []
        runs = list(_PERCENT.finditer(reading.text))
        for m in runs:
            if m.end() - m.start() == len("%20") and len(runs) < _ALONE_AT_LEAST:
                continue
            try:
                plain = bytes.fromhex(m[0].replace("%", "")).decode("utf-8")
            except UnicodeDecodeError:
                continue
            edits.append((m.start(), m.end(), plain))
        if not edits:
            break
        found.flags.add("percent")
        reading = edited(reading, edits)
    return reading


def without_escapes(reading: Reading, found: Findings) -> Reading:
    r"""Step 10: ``\xNN``, ``\uNNNN`` and octal escapes, where a text has at least three."""
    if "\\" not in reading.text:
        return reading
    escapes = list(_BACKSLASH.finditer(reading.text))
    if len(escapes) < _ESCAPES_AT_LEAST:
        return reading
    found.flags.add("escapes")
    return edited(reading, [(m.start(), m.end(), _unescaped(m[0])) for m in escapes])


def _unescaped(escape: str) -> str:
    digits, base = (escape[2:], 16) if escape[1] in "xu" else (escape[1:], 8)
    code = int(digits, base)
    return "\N{REPLACEMENT CHARACTER}" if 0xD800 <= code <= 0xDFFF else chr(code)  # noqa: PLR2004 - surrogates


def without_gaps(reading: Reading, found: Findings) -> Reading:
    """Step 11: four and more single letters with one equal separator; a double separator ends a word."""
    edits: list[Edit] = []
    for m in _SPACED.finditer(reading.text):
        gap = m[1]
        for n in range(m.start(), m.end()):
            if reading.text[n] == gap:
                double = reading.text[n - 1] == gap
                follows = reading.text[n + 1] == gap
                if not follows:
                    edits.append((n - double, n + 1, " " if double else ""))
    if edits:
        found.flags.add("spaced")
    return edited(reading, edits)
