"""The ways to hide a text that the normaliser reads: used on harmless text in training, on both sides in measuring."""

import base64
import codecs
from collections.abc import Callable, Mapping
from random import Random
from typing import Final
from urllib.parse import quote

_LOOKALIKES: Final = str.maketrans("aceiopxyABCEHKMOPTX", "асеіорхуАВСЕНКМОРТХ")  # noqa: RUF001 - Cyrillic on purpose
_LEET: Final = str.maketrans("aeiost", "431057")
_WIDE: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}


def _zero_width(chance: Random, text: str) -> str:
    return "".join(c + (chance.choice("\u200b\u200c\u200d\u2060") if c.isalpha() else "") for c in text)


def _lookalikes(_: Random, text: str) -> str:
    return text.translate(_LOOKALIKES)


def _leet(_: Random, text: str) -> str:
    return text.translate(_LEET)


def _spaced(chance: Random, text: str) -> str:
    gap = chance.choice(" .-_")
    return (gap * 2).join(gap.join(word) for word in text.split())


def _base64(_: Random, text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _hex(_: Random, text: str) -> str:
    return text.encode().hex()


def _rot13(_: Random, text: str) -> str:
    return codecs.encode(text, "rot13")


def _percent(_: Random, text: str) -> str:
    return quote(text, safe="") if not text.isalnum() else "".join(f"%{byte:02X}" for byte in text.encode())


def _full_width(_: Random, text: str) -> str:
    return text.translate(_WIDE)


def _scrambled(chance: Random, text: str) -> str:
    return " ".join(_stirred(chance, word) for word in text.split(" "))


def _stirred(chance: Random, word: str) -> str:
    inner = list(word[1:-1])
    chance.shuffle(inner)
    return word[0] + "".join(inner) + word[-1] if len(word) > 4 and word.isalpha() else word


def _random_case(chance: Random, text: str) -> str:
    return "".join(c.upper() if chance.random() < 0.5 else c.lower() for c in text)


def _tags(_: Random, text: str) -> str:
    return "".join(chr(0xE0000 + ord(c)) for c in text if 0x20 <= ord(c) <= 0x7E)


def _reversed(_: Random, text: str) -> str:
    return text[::-1]


TRANSFORMS: Final[Mapping[str, Callable[[Random, str], str]]] = {
    "zero_width": _zero_width, "lookalikes": _lookalikes, "leet": _leet, "spaced": _spaced, "base64": _base64,
    "hex": _hex, "rot13": _rot13, "percent": _percent, "full_width": _full_width, "scrambled": _scrambled,
    "random_case": _random_case, "tags": _tags, "reversed": _reversed,
}  # fmt: skip
