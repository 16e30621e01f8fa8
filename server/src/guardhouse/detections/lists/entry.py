"""An entry of a list, and what makes one usable."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from guardhouse.analysis.injection.phrases import words_of
from guardhouse.foundation.errors import Problem

FEWEST_WORDS: Final = 2  # of an allowed phrase: one word alone would take a trigger out of every text
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ListEntryInvalid(Problem):
    """Entries of a list cannot be used; nothing was changed."""

    status, code, title = 422, "list_entry_invalid", "Entry of a list invalid"
    remediation = "Correct the entries listed in `errors`; each says how."


class Entry(msgspec.Struct, frozen=True):
    """An exact text by the SHA-256 of its UTF-8, or a phrase; ``channel`` None speaks for both."""

    kind: Literal["sha256", "phrase"]
    value: str
    channel: Literal["user", "external"] | None = None
    note: str | None = None
    expires_at: datetime | None = None

    @property
    def name(self) -> str:
        """A short name that stays as long as the entry says the same."""
        said = f"{self.kind}\0{self.channel}\0{self.value}"
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def counts(self, now: datetime) -> bool:
        """Tell whether the entry has not expired."""
        return self.expires_at is None or now < self.expires_at


def check_entries(kind: str, entries: Sequence[Entry]) -> None:
    """Insist that entries can be used on a list of this kind (``allow``, ``deny``).

    Raises:
        ListEntryInvalid: with every fault.
    """
    faults = list(_faults(kind, entries))
    if faults:
        raise ListEntryInvalid(faults[0]["detail"], errors=faults)


def _faults(kind: str, entries: Sequence[Entry]) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        where = f"/entries/{number}/value"
        if entry.name in seen:
            yield _fault(where, "twice", "The list says this already.")
        seen.add(entry.name)
        if entry.kind == "sha256":
            if not _SHA256.fullmatch(entry.value):
                yield _fault(where, "sha256", "A SHA-256 is 64 hexadecimal digits in lower case.")
            continue
        count = len(words_of(entry.value))
        if count == 0:
            yield _fault(where, "words", "A phrase needs a word.")
        elif kind == "allow" and count < FEWEST_WORDS:
            yield _fault(where, "words", f"An allowed phrase has at least {FEWEST_WORDS} words.")


def _fault(pointer: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "detail": detail}
