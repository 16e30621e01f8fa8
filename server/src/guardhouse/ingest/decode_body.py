"""Takes a decoded body apart: the strict fast way first, the lenient one for what it refuses.

Both ways give the same pieces, so nothing after this knows which one was taken.
"""

from typing import Any, Final

import msgspec

from guardhouse.ingest.decode_lenient import Cut, Unreadable, cut_items, decode_item, too_many_items

MAX_DEPTH: Final = 32
MAX_KEYS: Final = 2_000
MAX_ITEM_BYTES: Final = 64 << 10
MANY_COMMAS: Final = 500_000  # beyond, elements are counted while they are cut, to bound memory

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split_body(content: bytes, names: tuple[str, ...], *, max_items: int) -> Cut:
    """Return the top-level members of a body, the arrays called ``names`` as their elements.

    Raises:
        MalformedBody: no object on top, or the text ends before the object does.
        BodyTooLarge: the arrays have more than ``max_items`` elements together.
    """
    if content.count(b",") > MANY_COMMAS:
        return cut_items(content, names, max_items=max_items)
    try:
        cut = _split_strictly(content, names)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return cut_items(content, names, max_items=max_items)
    if sum(map(len, cut.items.values())) > max_items:
        raise too_many_items(max_items)
    return cut


def _split_strictly(content: bytes, names: tuple[str, ...]) -> Cut:
    cut = Cut()
    for name, raw in _members.decode(content).items():
        text = bytes(raw).strip()
        if name in names and text.startswith(b"["):
            cut.items[name] = [bytes(element) for element in _elements.decode(text)]
        else:
            cut.members[name] = text
    return cut


def decode_member(cut: Cut, name: str) -> Any:
    """Return one member of the envelope; None when absent, huge or unreadable: no reason to refuse."""
    raw = cut.members.get(name)
    if raw is None or len(raw) > MAX_ITEM_BYTES:
        return None
    try:
        return decode_item(raw)
    except Unreadable:
        return None


def over_limits(raw: bytes, value: Any) -> str | None:
    """Say which limit of one item is passed, in words; None = none. ``value`` is what ``raw`` decodes to."""
    if len(raw) > MAX_ITEM_BYTES:
        return f"the item is {len(raw):,} bytes, limit {MAX_ITEM_BYTES:,}"
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        return f"the item is nested deeper than {MAX_DEPTH} levels"
    if raw.count(b":") > MAX_KEYS and _most_keys(value) > MAX_KEYS:
        return f"an object in the item has more than {MAX_KEYS:,} keys"
    return None


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        layer = [child for parent in layer for child in _children(parent)]
        if not layer:
            return False
    return True


def _most_keys(value: Any) -> int:
    most, layer = 0, [value]
    while layer:
        most = max([most, *(len(node) for node in layer if isinstance(node, dict))])
        layer = [child for parent in layer for child in _children(parent)]
    return most


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
