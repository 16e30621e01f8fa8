"""Read what the body of a detection asks for; each refusal says its code and where."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from guardhouse.detections.decide import POINTS, OperatingPoint
from guardhouse.detections.decode_body import decode
from guardhouse.detections.policy import Tier
from guardhouse.foundation.errors import Problem

MAX_CHARS: Final = 100_000  # whatever a policy allows
METADATA_BYTES: Final = 1_024
CHANNELS: Final = ("user", "external")
TIERS: Final = ("fast",)
_TOP: Final = frozenset(
    {"text", "messages", "channel", "config", "policy", "metadata", "context", "webhook_url"}
)
_CONFIG: Final = frozenset(
    {
        "confidence_threshold",
        "include_reasoning",
        "detailed_response",
        "timeout_seconds",
        "operating_point",
        "tier",
        "explain",
        "sanitize",
    }
)
_CONTEXT: Final = frozenset({"agent_id", "session_id", "run_id", "trace_id"})


class Refused(Problem):
    """What every refusal of a detection's body shares; ``pointer`` says where."""

    remediation = "Compare the body with POST /api/v1/detect in the API reference."

    def __init__(self, detail: str, pointer: str, **extensions: Any) -> None:
        error = {"pointer": pointer, "code": self.code, "detail": detail}
        super().__init__(detail, errors=[error], **extensions)


class ObjectExpected(Refused):
    """The body is JSON, but no object."""

    status, code, title = 422, "object_expected", "Object expected"


class TextRequired(Refused):
    """There is nothing to judge."""

    status, code, title = 422, "text_required", "Text required"


class AmbiguousInput(Refused):
    """There is a text and a conversation, and only one of them can be judged."""

    status, code, title = 422, "ambiguous_input", "Text or messages"
    remediation = "Send `text` or `messages`, not both."


class MessagesEmpty(Refused):
    """The conversation has no message."""

    status, code, title = 422, "messages_empty", "No messages"


class TextType(Refused):
    """The text is no string."""

    status, code, title = 422, "text_type", "The text must be a string"


class TextEmpty(Refused):
    """The text is the empty string."""

    status, code, title = 422, "text_empty", "The text is empty"


class TextTooLong(Refused):
    """The text is longer than may be judged; it is never cut silently."""

    status, code, title = 422, "text_too_long", "Text too long"
    remediation = (
        "Send the text in parts, or let `max_chars` of the policy be raised (to 100,000 at most); `limit` and"
        " `length` count code points, `cut` is where the text would end."
    )


class UnknownChoice(Refused):
    """A member holds none of its allowed values; they are listed."""

    status, code, title = 422, "unknown_choice", "Unknown choice"
    remediation = "Use one of the values in `allowed`."


class ThresholdRange(Refused):
    """The threshold is no number from 0 to 1."""

    status, code, title = 422, "threshold_range", "Threshold out of range"
    remediation = "Send a number from 0 to 1, such as 0.5."


class UnknownConfig(Refused):
    """A member of ``config`` that does not exist; the nearest known name is said."""

    status, code, title = 422, "unknown_config", "Unknown setting of a detection"


class MemberInvalid(Refused):
    """A member has the wrong type or is out of range."""

    status, code, title = 422, "member_invalid", "A member is invalid"


class MetadataTooLarge(Refused):
    """Metadata or context is over 1 KiB of JSON."""

    status, code, title = 422, "metadata_too_large", "Metadata too large"
    remediation = "Send an id and keep the rest with yourself."


@dataclass(frozen=True, slots=True)
class Wanted:
    """A detection as asked for: a text, or the messages of a conversation as they came.

    ``place`` is where the text stands in the body, as a JSON pointer.
    """

    text: str
    channel: str = "user"
    policy: UUID | None = None
    operating_point: OperatingPoint | None = None
    threshold_milli: int | None = None
    reasoning: bool = True
    explain: bool = False
    sanitize: bool = False
    seconds: float = 30.0
    tier: Tier | None = None
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    invalid_unicode: bool = False
    messages: list[Any] | None = None
    place: str = "/text"


def read_wanted(body: bytes) -> Wanted:
    """Read the body of ``POST /detect``.

    Raises:
        InvalidJson: as :func:`decode`.
        Problem: 422 with the code of the first thing that is wrong and its pointer.
    """
    value, warnings, replaced = decode(body)
    if not isinstance(value, dict):
        raise ObjectExpected("The body must be a JSON object with `text`.", "")
    return wanted_of(value, warnings, replaced=replaced)


def wanted_of(value: dict[str, Any], warnings: Sequence[str] = (), *, replaced: bool) -> Wanted:
    """Return the detection that a decoded body asks for; ``replaced``: surrogates were replaced in it.

    Raises:
        Problem: 422 with the code of the first thing that is wrong and its pointer.
    """
    config = object_in(value, "config")
    check_config(config, _CONFIG)
    unknown = [f"unknown_member:{name[:64]}" for name in value if name not in _TOP]
    reasoning = [flag_in(config, name, default=True) for name in ("include_reasoning", "detailed_response")]
    choice_in(config.get("tier", "fast"), TIERS, "/config/tier")
    messages = _messages(value)
    return Wanted(
        text=_text(value) if messages is None else "",
        messages=messages,
        channel=choice_in(value.get("channel", "user"), CHANNELS, "/channel"),
        policy=read_policy(value.get("policy")),
        operating_point=(
            None
            if config.get("operating_point") is None
            else choice_in(config["operating_point"], tuple(POINTS), "/config/operating_point")  # type: ignore[arg-type] # one of POINTS
        ),
        threshold_milli=_threshold(config.get("confidence_threshold")),
        reasoning=all(reasoning),
        explain=flag_in(config, "explain", default=False),
        sanitize=flag_in(config, "sanitize", default=False),
        seconds=read_seconds(config.get("timeout_seconds", 30)),
        context=read_context(object_in(value, "context")),
        metadata=small(object_in(value, "metadata"), "/metadata"),
        webhook_url=url_of(value),
        tier=config.get("tier"),
        warnings=(*warnings, *unknown),
        invalid_unicode=replaced,
    )


def check_config(config: dict[str, Any], known: frozenset[str]) -> None:
    """Insist that ``config`` has known members only.

    Raises:
        UnknownConfig: it has another; the nearest known name is said.
    """
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UnknownConfig(f"`config` has no member {name[:64]!r}.{hint}", pointer_to("config", name))


def _messages(value: dict[str, Any]) -> list[Any] | None:
    """Return the messages of a call that has some, as they came; ``conversations.read_messages`` reads them."""
    given = value.get("messages")
    if given is None:
        return None
    if "text" in value:
        raise AmbiguousInput("The body has `text` and `messages`.", "/messages")
    if not isinstance(given, list):
        raise MemberInvalid(f"`messages` is a list, not {kind_of(given)}.", "/messages")
    if not given:
        raise MessagesEmpty("`messages` is empty.", "/messages")
    return given


def url_of(value: dict[str, Any]) -> str | None:
    """Return the URL that the verdict is to be delivered to; whether it may be is for ``webhooks`` to say.

    Raises:
        MemberInvalid: it is no string.
    """
    url = value.get("webhook_url")
    if url is not None and not isinstance(url, str):
        raise MemberInvalid("`webhook_url` is a string.", "/webhook_url")
    return url


def _text(value: dict[str, Any]) -> str:
    if "text" not in value:
        raise TextRequired("The body needs `text` or `messages`.", "/text")
    text = value["text"]
    if not isinstance(text, str):
        raise TextType(f"`text` must be a string, not {kind_of(text)}.", "/text")
    if not text:
        raise TextEmpty("`text` is the empty string.", "/text")
    check_length(text, MAX_CHARS)
    return text


def check_length(text: str, limit: int, place: str = "/text") -> None:
    """Insist that a text has no more code points than are judged at once.

    Raises:
        TextTooLong: it has.
    """
    if len(text) > limit:
        raise TextTooLong(
            f"`{place[1:]}` has {len(text):,} code points; at most {limit:,} are judged at once.",
            place,
            limit=limit,
            length=len(text),
            cut=text[max(0, limit - 40) : limit],
        )


def read_policy(given: Any) -> UUID | None:
    """Return the id of a policy, or None; raises MemberInvalid."""
    if given is None:
        return None
    try:
        return UUID(given)
    except (ValueError, AttributeError, TypeError):
        raise MemberInvalid("`policy` is the id of a policy.", "/policy") from None


def kind_of(value: Any) -> str:
    """Return what a JSON value is, for a sentence."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return names.get(type(value), "that")


def object_in(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a member that is an object, empty where it is absent; raises MemberInvalid."""
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise MemberInvalid(f"`{name}` must be an object, not {kind_of(found)}.", f"/{name}")
    return found


def choice_in(given: Any, allowed: tuple[str, ...], pointer: str) -> str:
    """Return a value that is one of some; raises UnknownChoice."""
    if given not in allowed:
        raise UnknownChoice(
            f"{pointer.rpartition('/')[2]} is one of {', '.join(allowed)}.", pointer, allowed=list(allowed)
        )
    found: str = given
    return found


def flag_in(config: dict[str, Any], name: str, *, default: bool) -> bool:
    """Return a member of ``config`` that is true or false; raises MemberInvalid."""
    given = config.get(name, default)
    if not isinstance(given, bool):
        raise MemberInvalid(f"`{name}` is true or false.", f"/config/{name}")
    return given


def _threshold(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
        raise ThresholdRange(
            "`confidence_threshold` is a number from 0 to 1.", "/config/confidence_threshold"
        )
    return round(1_000 * given)


def read_seconds(given: Any) -> float:
    """Return how many seconds a call may take; raises MemberInvalid."""
    most = 60
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 1 <= given <= most:
        raise MemberInvalid(f"`timeout_seconds` is a number from 1 to {most}.", "/config/timeout_seconds")
    return float(given)


def read_context(given: dict[str, Any]) -> dict[str, str]:
    """Return the ids of ``context``; raises MemberInvalid, MetadataTooLarge."""
    for name, value in given.items():
        if name not in _CONTEXT or not isinstance(value, str):
            raise MemberInvalid(
                f"`context` has {', '.join(sorted(_CONTEXT))}, each a string.", pointer_to("context", name)
            )
    return small(given, "/context")


def small(given: dict[str, Any], pointer: str) -> dict[str, Any]:
    """Return an object that is at most 1 KiB of JSON; raises MetadataTooLarge."""
    size = len(json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    if size > METADATA_BYTES:
        raise MetadataTooLarge(
            f"{pointer[1:]} is {size:,} bytes of JSON, at most {METADATA_BYTES:,} are kept.",
            pointer,
            limit_bytes=METADATA_BYTES,
        )
    return given


def pointer_to(*parts: str) -> str:
    """Return the JSON pointer (RFC 6901) to a member."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1")[:64] for part in parts)
