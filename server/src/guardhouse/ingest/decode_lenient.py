"""Reads telemetry JSON that strict decoders refuse, and cuts a broken batch so that one bad item costs only itself.

Nothing here trusts the text: work is linear in its length, depth is bounded, and every text that comes out
can be stored (no NUL, no unpaired surrogate, valid UTF-8).
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from guardhouse.foundation.errors import BodyTooLarge, Problem

BOM: Final = b"\xef\xbb\xbf"
NUL_PICTURE: Final = "\u2400"
REPLACEMENT: Final = "\ufffd"
MAX_INTEGER_DIGITS: Final = 4300  # what Python converts without being asked twice

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^,\[\]{}"]++')
_NEXT_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[\]{}])', re.DOTALL)
_UNSTORABLE: Final = re.compile("[\\x00\ud800-\udfff]")
_OPENED_BY: Final = {ord("}"): ord("{"), ord("]"): ord("[")}
_COMMA, _COLON, _QUOTE, _OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_LIST, _CLOSE_LIST = b',:"{}[]'


class MalformedBody(Problem):
    """The body is no JSON object, is cut, or its compressed form is broken. ``raw`` is what could be read."""

    status, code, title = 400, "malformed_body", "Malformed body"
    remediation = "Send one complete JSON object; `offset` is the byte at which reading stopped."

    def __init__(self, detail: str, *, offset: int, raw: bytes = b"") -> None:
        super().__init__(detail, offset=offset)
        self.raw = raw


class Unreadable(Exception):  # noqa: N818 - a verdict on one item, not a fault
    """One item cannot be decoded even leniently; the message says why."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A top-level object in pieces, each still JSON text; of equal names the last counts.

    ``items`` holds the elements of those members that were asked for and are arrays, in order; ``members``
    holds every other member whole.
    """

    members: dict[str, bytes] = field(default_factory=dict)
    items: dict[str, list[bytes]] = field(default_factory=dict)


def cut_items(content: bytes, names: tuple[str, ...], *, max_items: int) -> Cut:
    """Cut a body into its top-level members, and the arrays called ``names`` into their elements.

    Strings and brackets alone are understood, so an element may hold anything else that is wrong. An element
    whose brackets do not fit ends where its first bracket closes, or with the array.

    Raises:
        MalformedBody: no object on top, or the text ends before the object does.
        BodyTooLarge: the arrays have more than ``max_items`` elements together.
    """
    cut = Cut()
    _Cutter(content, names, max_items).cut_into(cut)
    return cut


def salvage_items(content: bytes, names: tuple[str, ...], *, max_items: int) -> Cut:
    """Cut as much of a body as is whole: as :func:`cut_items`, and of a body that is broken what stands before that.

    Raises:
        BodyTooLarge: the arrays have more than ``max_items`` elements together.
    """
    cut = Cut()
    with suppress(MalformedBody):
        _Cutter(content, names, max_items).cut_into(cut)
    return cut


def cut_array(content: bytes, *, max_items: int) -> list[bytes]:
    """Cut a body that is an array into its elements, as :func:`cut_items` does with the arrays in an object.

    Raises:
        MalformedBody: no array on top, or the text ends before the array does.
        BodyTooLarge: it has more than ``max_items`` elements.
    """
    return _Cutter(content, (), max_items).cut_array()


def decode_item(raw: bytes) -> Any:
    """Decode one piece of JSON, strictly if possible, else leniently; the texts in it can be stored.

    Lenient: ``NaN`` and ``Infinity`` are floats, invalid UTF-8 and unpaired surrogates become U+FFFD, NUL
    becomes U+2400, control characters may stand in strings, an integer too long to convert stays its text.

    Raises:
        Unreadable: it is no JSON even so, or nested too deep to read.
    """
    if b"\\u0000" not in raw:
        try:
            return msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    try:
        text = raw.removeprefix(BOM).decode("utf-8", "replace")
        return _storable(json.loads(text, strict=False, parse_int=_integer))
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"{error.msg} at character {error.pos}") from None


def storable_text(text: str) -> str:
    """Return the text with what PostgreSQL cannot store replaced."""
    return _UNSTORABLE.sub(lambda found: NUL_PICTURE if found[0] == "\0" else REPLACEMENT, text)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable_text(name): _storable(item) for name, item in value.items()}
    return value


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else digits


class _Cutter:
    """One pass over one body; ``at`` is where it stands."""

    __slots__ = ("at", "content", "counted", "max_items", "names")

    def __init__(self, content: bytes, names: tuple[str, ...], max_items: int) -> None:
        self.content = content
        self.names = names
        self.max_items = max_items
        self.counted = 0
        self.at = len(BOM) if content.startswith(BOM) else 0

    def cut_into(self, cut: Cut) -> None:
        """Put the pieces into ``cut`` as they are found; what is there when it fails is whole."""
        self._expect(_OPEN_OBJECT, "The body is not a JSON object")
        if self._peek() == _CLOSE_OBJECT:
            self.at += 1
        else:
            while self._member(cut):
                pass
        if self._peek() is not None:
            raise self._malformed("There are bytes after the JSON object")

    def cut_array(self) -> list[bytes]:
        if self._peek() != _OPEN_LIST:
            raise self._malformed("The body is not a JSON array")
        found: list[bytes] = []
        self._elements(found)
        if self._peek() is not None:
            raise self._malformed("There are bytes after the JSON array")
        return found

    def _member(self, cut: Cut) -> bool:
        """Read one member and what follows it; tells whether another one follows."""
        if self._peek() != _QUOTE:
            raise self._malformed("A member's name was expected")
        name = self._name(self._string())
        self._expect(_COLON, "A colon was expected")
        cut.members.pop(name, None)
        cut.items.pop(name, None)
        if name in self.names and self._peek() == _OPEN_LIST:
            cut.items[name] = []
            self._elements(cut.items[name])
        else:
            cut.members[name] = self._value()
        follows = self._peek()
        self.at += 1
        if follows == _COMMA:
            return True
        if follows != _CLOSE_OBJECT:
            self.at -= 1
            raise self._malformed("A comma or the end of the object was expected")
        return False

    def _elements(self, found: list[bytes]) -> None:
        """Cut the array that begins here into ``found``; on return the position is behind it."""
        self.at += 1
        if self._peek() == _CLOSE_LIST:
            self.at += 1
            return
        while True:
            self.counted += 1
            if self.counted > self.max_items:
                raise too_many_items(self.max_items)
            found.append(self._element())
            follows = self._peek()
            self.at += 1
            if follows == _CLOSE_LIST:
                return
            if follows is None:
                if not found[-1].endswith(b"}"):
                    found.pop()  # nothing, or no item
                self.at = len(self.content)
                raise self._malformed("The body ends inside an array")

    def _element(self) -> bytes:
        """Return what stands between two commas of the array; anything at all, so long as brackets fit."""
        begin = self.at
        while (here := self._peek()) not in (_COMMA, _CLOSE_LIST, None):
            if here in (_OPEN_OBJECT, _OPEN_LIST):
                self._skip_brackets(in_array=True)
            elif here == _QUOTE:
                self._string()
            elif here == _CLOSE_OBJECT:
                self.at += 1  # one closing bracket too many: part of this broken element
            else:
                self._scalar()
        return self.content[begin : self.at].strip()

    def _value(self) -> bytes:
        here = self._peek()
        begin = self.at
        if here in (_OPEN_OBJECT, _OPEN_LIST):
            self._skip_brackets(in_array=False)
        elif here == _QUOTE:
            self._string()
        else:
            self._scalar()
        return self.content[begin : self.at].strip()

    def _skip_brackets(self, *, in_array: bool) -> None:
        """Move behind the bracket that closes the one here.

        A closing bracket also closes what was left open inside it. One that nothing inside opened belongs
        to the array around the element.
        """
        open_brackets = bytearray()
        opened = {_OPEN_OBJECT: 0, _OPEN_LIST: 0}
        while True:
            match = _NEXT_BRACKET.match(self.content, self.at)
            if match is None:
                self.at = len(self.content)
                raise self._malformed("The body ends inside a value")
            bracket = self.content[match.start(1)]
            opened_by = _OPENED_BY.get(bracket)
            if opened_by is None:
                open_brackets.append(bracket)
                opened[bracket] += 1
            elif opened[opened_by]:
                while (closed := open_brackets.pop()) != opened_by:
                    opened[closed] -= 1
                opened[opened_by] -= 1
            elif in_array and bracket == _CLOSE_LIST:
                self.at = match.start(1)
                return
            self.at = match.end()
            if not open_brackets:
                return

    def _string(self) -> bytes:
        match = _STRING.match(self.content, self.at)
        if match is None:
            raise self._malformed("The body ends inside a text")
        self.at = match.end()
        return match[0]

    def _scalar(self) -> None:
        match = _SCALAR.match(self.content, self.at)
        if match is None:
            raise self._malformed("A value was expected")
        self.at = match.end()

    def _name(self, raw: bytes) -> str:
        try:
            return str(decode_item(raw))
        except Unreadable:
            return raw.decode("utf-8", "replace")

    def _peek(self) -> int | None:
        """Skip white space and return the byte here, None at the end."""
        match = _SPACE.match(self.content, self.at)
        if match is not None:
            self.at = match.end()
        return self.content[self.at] if self.at < len(self.content) else None

    def _expect(self, byte: int, otherwise: str) -> None:
        if self._peek() != byte:
            raise self._malformed(otherwise)
        self.at += 1

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(f"{what} (byte {self.at}).", offset=self.at, raw=self.content)


def too_many_items(max_items: int) -> BodyTooLarge:
    """Return the refusal of a body with too many items."""
    return BodyTooLarge(f"The body has more than {max_items:,} items.", limit_items=max_items)
