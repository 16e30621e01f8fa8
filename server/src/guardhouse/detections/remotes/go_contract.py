"""The words of the Go engine's ``POST /v1/detect``: what is sent, and what is taken for an answer."""

from typing import Annotated, Final

import msgspec

from guardhouse.settings import RemoteEngine

MOST_BYTES: Final = 1 << 20
LEAST, MOST = 1, 999  # milli; 0 is kept for texts without words, 1000 for findings that no threshold moves
MOST_REASON: Final = 500


class BadAnswerError(Exception):
    """The engine's answer is none by its contract; says how."""


class Asked(msgspec.Struct, frozen=True):
    """How to judge."""

    confidence_threshold: float
    detailed_response: bool = True


class Request(msgspec.Struct, frozen=True):
    """The body that is sent."""

    text: str
    config: Asked


class _Answer(msgspec.Struct, frozen=True):
    """The body that comes back; a Go slice without elements may be null."""

    is_malicious: bool
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    threat_types: list[str] | None = None
    reason: str | None = None
    endpoint: str | None = None


class RemoteVerdict(msgspec.Struct, frozen=True):
    """What a remote engine says: the likelihood of an attack in thousandths, kinds of attack, a sentence."""

    score_milli: int
    threat_types: tuple[str, ...]
    reason: str | None
    endpoint: str | None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Answer).decode


def body_of(text: str, block_milli: int) -> bytes:
    """Return the body of a request."""
    return _encode(Request(text, Asked(block_milli / 1_000)))


def read_answer(body: bytes, means: RemoteEngine) -> RemoteVerdict:
    """Read an answer; where confidence means "sure of the verdict", a sure "harmless" is an unlikely attack.

    Raises:
        BadAnswerError: it is not JSON, or confidence or verdict is missing or out of range.
    """
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswerError(str(error)) from None
    attack = said.confidence
    if means.confidence_means == "verdict" and not said.is_malicious:
        attack = 1.0 - attack
    return RemoteVerdict(
        score_milli=min(max(round(1_000 * attack), LEAST), MOST),
        threat_types=tuple(said.threat_types or ()),
        reason=said.reason[:MOST_REASON] if said.reason else None,
        endpoint=said.endpoint[:MOST_REASON] if said.endpoint else None,
    )
