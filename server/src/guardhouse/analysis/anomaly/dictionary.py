"""The dictionary coder ``zstd-1``: eight times the bytes that zstd needs when it knows the last learned lines.

For streams with more distinct lines per second than ``cm-1`` can take. Its costs depend on the version of libzstd.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import zstandard
from numpy.typing import NDArray

LARGEST: Final = 112 * 1024
"""Bytes of learned lines that the dictionary holds: the latest."""
LEVEL: Final = 3
_MILLI_BITS_PER_BYTE: Final = 8000


class DictionaryCoder:
    """A model that is a text: the last distinct lines that were learned."""

    def __init__(self) -> None:
        self.learned_lines = 0
        self._text = b""
        self._compressor = _compressor(self._text)

    def totals(self, lines: Sequence[bytes]) -> NDArray[np.int64]:
        """The cost of each line in thousandths of a bit."""
        compress = self._compressor.compress
        return np.fromiter(
            (_MILLI_BITS_PER_BYTE * len(compress(line)) for line in lines), np.int64, len(lines)
        )

    def learn(self, lines: Sequence[bytes], weights: Sequence[int] | None = None) -> None:
        """Put distinct lines at the end of the dictionary; a weight changes nothing here."""
        del weights
        if not lines:
            return
        kept: dict[bytes, None] = dict.fromkeys(self.lines())
        for line in lines:
            kept.pop(line, None)
            kept[line] = None
        self._text = b"\n".join(kept)[-LARGEST:]
        self._compressor = _compressor(self._text)
        self.learned_lines += len(lines)

    def lines(self) -> list[bytes]:
        """The lines that the dictionary holds; the first may be cut."""
        return self._text.split(b"\n") if self._text else []

    def crowded(self) -> bool:
        """Never: the oldest lines leave by themselves."""
        return False

    def rotate(self) -> None:
        """There are no generations here."""
        self.learned_lines = 0

    def to_state(self) -> dict[str, Any]:
        """The model for ``snapshot``."""
        return {"text": self._text, "learned_lines": self.learned_lines}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The model that ``to_state`` described."""
        made = cls()
        made._text, made.learned_lines = state["text"], state["learned_lines"]
        made._compressor = _compressor(made._text)
        return made


def _compressor(text: bytes) -> zstandard.ZstdCompressor:
    plain = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    if not text:
        return zstandard.ZstdCompressor(compression_params=plain)
    words = zstandard.ZstdCompressionDict(text, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    words.precompute_compress(compression_params=plain)
    return zstandard.ZstdCompressor(dict_data=words, compression_params=plain)
