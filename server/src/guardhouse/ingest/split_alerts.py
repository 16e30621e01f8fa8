"""Takes a body of alerts apart: one object, an array, or lines; told by what is there, not by what is said."""

from typing import Final

import msgspec

from guardhouse.ingest.decode_body import MANY_COMMAS
from guardhouse.ingest.decode_lenient import BOM, MalformedBody, cut_array, cut_items

MAX_READ: Final = 50_000  # cut at most; past 10,000 the batch is refused as a whole
_LOOKED_AT: Final = 2  # lines that are tried, to tell lines from one object in several lines
_NOT_STRICT: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_one: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split_alerts(content: bytes, *, said_lines: bool) -> list[bytes]:
    """Return the items of a body, each still text that may hold anything; none for a body of lines without any.

    ``said_lines``: the sender says that it is NDJSON; then every line is an item.

    Raises:
        MalformedBody: neither an object nor an array nor lines, or cut.
        BodyTooLarge: an array of more than 50,000 items.
    """
    if said_lines:
        return _lines(content)
    plain = content.removeprefix(BOM).strip()
    if plain.startswith(b"["):
        return _elements(plain)
    if not plain.startswith(b"{"):
        raise MalformedBody("The body is neither a JSON object nor an array (byte 0).", offset=0, raw=content)
    if _is_object(plain):
        return [plain]
    lines = _lines(plain)
    if len(lines) > 1 and any(_is_whole(line) for line in lines[:_LOOKED_AT]):
        return lines
    cut_items(content, (), max_items=0)  # an object that is wrong inside costs itself; a cut one is refused
    return [plain]


def _lines(content: bytes) -> list[bytes]:
    found = [stripped for line in content.split(b"\n", MAX_READ) if (stripped := line.strip())]
    return found[:MAX_READ]


def _elements(content: bytes) -> list[bytes]:
    if content.count(b",") <= MANY_COMMAS:
        try:
            return [bytes(item) for item in _array.decode(content)]
        except _NOT_STRICT:
            pass  # cut below, so that one broken element costs itself
    return cut_array(content, max_items=MAX_READ)


def _is_object(content: bytes) -> bool:
    try:
        _one.decode(content)
    except _NOT_STRICT:
        return False
    return True


def _is_whole(line: bytes) -> bool:
    """Tell whether a line holds one object from its first bracket to its last, whatever is wrong inside."""
    try:
        cut_items(line, (), max_items=0)
    except MalformedBody:
        return False
    return True
