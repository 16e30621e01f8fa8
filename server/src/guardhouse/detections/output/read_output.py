"""Read the bodies of scans of answers; every string of JSON is a text here too."""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from guardhouse.detections.decode_body import decode
from guardhouse.detections.read_request import (
    MAX_CHARS,
    MemberInvalid,
    ObjectExpected,
    TextEmpty,
    TextRequired,
    TextType,
    check_config,
    check_length,
    flag_in,
    kind_of,
    object_in,
    read_context,
    read_policy,
    read_seconds,
    small,
)

MOST_TEXTS: Final = 8
_SHARED: Final = frozenset({"system_prompt", "protected_texts", "config", "policy", "context", "metadata"})
_WHOLE: Final = _SHARED | {"text"}
_PIECE: Final = _SHARED | {"chunk", "carry", "final", "sequence"}
_CONFIG: Final = frozenset({"redact", "timeout_seconds"})


@dataclass(frozen=True, slots=True)
class WantedScan:
    """A scan of an answer, or of the next piece of one, as asked for."""

    text: str
    system_prompt: str | None = None
    protected_texts: tuple[UUID, ...] = ()
    policy: UUID | None = None
    redact: bool = True
    seconds: float = 30.0
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    invalid_unicode: bool = False


@dataclass(frozen=True, slots=True)
class WantedPiece:
    """A piece and what was carried from the one before; ``sequence`` is its number as the caller counts."""

    scan: WantedScan
    carry: str | None
    final: bool
    sequence: int | None


def read_scan(body: bytes) -> WantedScan:
    """Read the body of ``POST /detect/output``.

    Raises:
        InvalidJson: as :func:`decode`.
        Problem: 422 with the code of the first thing that is wrong and its pointer.
    """
    value, warnings, replaced = _object(body)
    return _scan(value, "text", warnings + _unknown(value, _WHOLE), replaced=replaced)


def read_piece(body: bytes) -> WantedPiece:
    """Read the body of ``POST /detect/output/stream``; raises as :func:`read_scan`."""
    value, warnings, replaced = _object(body)
    carry, sequence = value.get("carry"), value.get("sequence")
    if carry is not None and not isinstance(carry, str):
        raise MemberInvalid(f"`carry` is a string or null, not {kind_of(carry)}.", "/carry")
    if sequence is not None and (isinstance(sequence, bool) or not isinstance(sequence, int)):
        raise MemberInvalid("`sequence` is the number of the piece, from 0.", "/sequence")
    final = value.get("final", False)
    if not isinstance(final, bool):
        raise MemberInvalid("`final` is true or false.", "/final")
    scan = _scan(value, "chunk", warnings + _unknown(value, _PIECE), replaced=replaced)
    return WantedPiece(scan, carry, final, sequence)


def _object(body: bytes) -> tuple[dict[str, Any], list[str], bool]:
    value, warnings, replaced = decode(body)
    if not isinstance(value, dict):
        raise ObjectExpected("The body must be a JSON object.", "")
    return value, warnings, replaced


def _unknown(value: dict[str, Any], known: frozenset[str]) -> list[str]:
    return [f"unknown_member:{name[:64]}" for name in value if name not in known]


def _scan(value: dict[str, Any], member: str, warnings: list[str], *, replaced: bool) -> WantedScan:
    config = object_in(value, "config")
    check_config(config, _CONFIG)
    return WantedScan(
        text=_text(value, member),
        system_prompt=None if value.get("system_prompt") is None else _text(value, "system_prompt"),
        protected_texts=_ids(value.get("protected_texts")),
        policy=read_policy(value.get("policy")),
        redact=flag_in(config, "redact", default=True),
        seconds=read_seconds(config.get("timeout_seconds", 30)),
        context=read_context(object_in(value, "context")),
        metadata=small(object_in(value, "metadata"), "/metadata"),
        warnings=tuple(warnings),
        invalid_unicode=replaced,
    )


def _text(value: dict[str, Any], member: str) -> str:
    """Return a text; a piece may be empty, an answer or a prompt may not."""
    if member not in value:
        raise TextRequired(f"The body needs `{member}`.", f"/{member}")
    text = value[member]
    if not isinstance(text, str):
        raise TextType(f"`{member}` must be a string, not {kind_of(text)}.", f"/{member}")
    if not text and member != "chunk":
        raise TextEmpty(f"`{member}` is the empty string.", f"/{member}")
    check_length(text, MAX_CHARS, f"/{member}")
    return text


def _ids(given: Any) -> tuple[UUID, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MOST_TEXTS:
        raise MemberInvalid(f"`protected_texts` is a list of at most {MOST_TEXTS} ids.", "/protected_texts")
    found: list[UUID] = []
    for place, one in enumerate(given):
        try:
            found.append(UUID(one))
        except (ValueError, AttributeError, TypeError):
            raise MemberInvalid("This is no id of a protected text.", f"/protected_texts/{place}") from None
    return tuple(dict.fromkeys(found))
