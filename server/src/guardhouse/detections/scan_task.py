"""What is asked of an engine process about an answer, and what it says."""

import msgspec


class Guarded(msgspec.Struct, frozen=True, array_like=True):
    """A text that must not be repeated: the key, and the keyed hashes of its shingles one after the other."""

    key: bytes
    shingles: bytes


class ScanAsk(msgspec.Struct, frozen=True, array_like=True, tag="scan"):
    """An answer to scan, or the next piece of one.

    Args:
        text: The answer or the piece.
        held: What is carried from the piece before; None where there is none.
        final: Whether nothing follows.
        allowed_hosts: Hosts that may be linked.
        sources: Texts whose content no link may carry.
        prompts: Texts given with the call that must not be repeated, hashed under ``prompt_key``.
        guarded: Texts of the tenant that must not be repeated.
    """

    text: str
    held: bytes | None = None
    final: bool = True
    allowed_hosts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    prompt_key: bytes = b""
    guarded: tuple[Guarded, ...] = ()

    @property
    def own(self) -> str:
        """The digest of what a tenant adds to the engine: nothing, here."""
        return ""


class Found(msgspec.Struct, frozen=True, array_like=True):
    """A leak; ``value`` is what stands there, for a canary the SHA-256 in hex of what may be one."""

    kind: str
    detector: str
    start: int
    end: int
    severity: int
    value: str


class Scanned(msgspec.Struct, frozen=True, array_like=True):
    """The leaks of an answer, or what a piece of one adds.

    Args:
        found: What is told now; places are those of the whole answer.
        flags: What the readings came upon.
        settled: The code points of the answer that are settled now and were not before.
        place: Where they begin in the answer.
        length: How many code points of the answer have come.
        held: What is carried to the next piece.
    """

    found: tuple[Found, ...]
    flags: tuple[str, ...]
    settled: str
    place: int
    length: int
    held: bytes | None
