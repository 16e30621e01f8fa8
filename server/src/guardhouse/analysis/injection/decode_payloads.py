"""Step 12 of the normaliser: encoded payloads that a model would read. Each becomes a view, the base text stays.

Sources: RFC 4648 (base16, base32, base64), Adobe's ASCII85. A decoding counts only if the bytes are UTF-8 and read
like words (``plausible``).
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.offsets import Reading, decoded
from guardhouse.analysis.injection.plausible import is_plausible

_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{16,}(?:\n[A-Za-z0-9+/_\-]{4,})*={0,2}")
_LINE: Final = re.compile(r"[^\n]+")
_WORDS_BELOW: Final = 3
_HEX: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{2}(?:[ :,\-]?(?:0x|\\x)?[0-9A-Fa-f]{2}){9,}(?![0-9A-Za-z])"
)
_BASE32: Final = re.compile(r"(?<![A-Z2-7])[A-Z2-7]{24,}={0,6}(?![A-Za-z0-9])")
_NUMBER: Final = re.compile(r"[0-9]{1,8}")
_CODES: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{2,8}(?:[ ,;]{1,2}[0-9]{2,8}){7,}(?![0-9A-Za-z])")
_HEX_BEGUN: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{2}(?:[ :,\-]?(?:0x|\\x)?[0-9A-Fa-f]{2}){4,}[ :,\-]?[0-9A-Fa-fx\\]{0,4}\Z"
)
_CODES_BEGUN: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9]{2,8}(?:[ ,;]{1,2}[0-9]{2,8}){3,}[ ,;]{0,2}[0-9]{0,8}\Z"
)
_BASE64_BEGUN: Final = re.compile(
    r"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{16,}(?:\n[A-Za-z0-9+/_\-]{4,})*(?:\n[A-Za-z0-9+/_\-]{0,3})?\Z"
)
_NOT_HEX: Final = re.compile(r"0x|\\x|[ :,\-]")
_MASKED = "\x00"


def payloads(reading: Reading, found: Findings) -> Iterator[tuple[int, int]]:
    """Add a view for every payload; yield the stretches of the reading that were accepted."""
    for kind, pattern, decode in (
        ("codes", _CODES, _codes),
        ("hex", _HEX, _hex),
        ("base32", _BASE32, _base32),
    ):
        for m in pattern.finditer(reading.text):
            text = _as_text(decode(m[0]))
            if text is not None and found.add(kind, decoded(reading, m.start(), m.end(), text)):
                yield m.span()
    yield from _base64_blocks(reading, found)
    yield from _ascii85(reading, found)


def _base64_blocks(reading: Reading, found: Findings) -> Iterator[tuple[int, int]]:
    """Try a block of lines as one payload, then without its last lines (words may look like one), then by line."""
    for block in _BASE64.finditer(reading.text):
        lines = [(block.start() + m.start(), block.start() + m.end()) for m in _LINE.finditer(block[0])]
        wholes = [block.span(), *((block.start(), end) for _, end in lines[:-1][: -_WORDS_BELOW - 1 : -1])]
        for start, end in wholes:
            if _add_base64(reading, start, end, found):
                yield start, end
                break
        else:
            for start, end in lines if len(lines) > 1 else ():
                if _add_base64(reading, start, end, found):
                    yield start, end


def _add_base64(reading: Reading, start: int, end: int, found: Findings) -> bool:
    text = _as_text(_base64(reading.text[start:end]))
    return text is not None and found.add("base64", decoded(reading, start, end, text))


def _ascii85(reading: Reading, found: Findings) -> Iterator[tuple[int, int]]:
    text = reading.text
    place = text.find("<~")
    while place >= 0:
        end = text.find("~>", place + 2)
        if end < 0:
            return
        try:
            plain = _as_text(base64.a85decode(text[place + 2 : end].encode("ascii")))
        except (ValueError, UnicodeEncodeError):
            plain = None
        if plain is not None and found.add("ascii85", decoded(reading, place, end + 2, plain)):
            yield place, end + 2
        place = text.find("<~", end + 2)


def begun_payloads(text: str, least: int) -> Iterator[int]:
    """Yield where, from ``least`` on, something begins that more text could make or lengthen into a payload."""
    for pattern in (_HEX_BEGUN, _CODES_BEGUN, _BASE64_BEGUN):
        found = pattern.search(text, least)
        if found:
            yield found.start()
    marked = text.rfind("<~", least)
    if marked >= 0 and text.find("~>", marked) < 0:
        yield marked


def whole_groups(text: str, place: int) -> int:
    """Return the last place at or before ``place`` where a text may be cut so that its base64 still decodes."""
    for block in _BASE64.finditer(text):
        if block.start() <= place < block.end():
            return place - len(text[block.start() : place].replace("\n", "")) % 4
    return place


def masked(text: str, stretches: list[tuple[int, int]]) -> str:
    """Return the text with these stretches blanked, so that later steps leave them as they are."""
    for start, end in stretches:
        text = text[:start] + _MASKED * (end - start) + text[end:]
    return text


def _as_text(payload: bytes | None) -> str | None:
    if payload is None:
        return None
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if is_plausible(text) else None


def _base64(text: str) -> bytes | None:
    packed = text.replace("\n", "").rstrip("=").replace("-", "+").replace("_", "/")
    if len(packed) % 4 == 1:
        packed = packed[:-1]
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4))
    except binascii.Error:
        return None


def _hex(text: str) -> bytes | None:
    digits = _NOT_HEX.sub("", text)
    return bytes.fromhex(digits) if len(digits) % 2 == 0 else None


def _base32(text: str) -> bytes | None:
    packed = text.rstrip("=")
    try:
        return base64.b32decode(packed + "=" * (-len(packed) % 8))
    except binascii.Error:
        return None


def _codes(text: str) -> bytes | None:
    """Read a list of numbers as binary, octal or decimal codes of characters, whichever all of them are."""
    numbers = _NUMBER.findall(text)
    eight, three = 8, 3
    if all(len(n) == eight and set(n) <= {"0", "1"} for n in numbers):
        codes = [int(n, 2) for n in numbers]
    elif all(len(n) == three and n[0] in "01" and not set(n) & {"8", "9"} for n in numbers):
        codes = [int(n, 8) for n in numbers]
    else:
        codes = [int(n) for n in numbers]
    try:
        return "".join(map(chr, codes)).encode("utf-8")
    except (ValueError, UnicodeEncodeError, OverflowError):
        return None
