"""Read the messages of a conversation, in the shape that chat interfaces have made common.

Content parts that are text are joined; others (images, sound) are not read, and a warning counts them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from guardhouse.detections.decode_body import decode
from guardhouse.detections.read_request import (
    MAX_CHARS,
    MemberInvalid,
    Refused,
    TextTooLong,
    Wanted,
    choice_in,
    kind_of,
)
from guardhouse.foundation.errors import InvalidJson

MOST_MESSAGES: Final = 200
Role = Literal["system", "developer", "user", "assistant", "tool"]
Source = Literal["trusted", "user", "external", "assistant"]
_SOURCES: Final[dict[str, Source]] = {
    "system": "trusted",
    "developer": "trusted",
    "user": "user",
    "assistant": "assistant",
    "tool": "external",
}
_CHANNELS: Final = ("user", "external")
_TEXTS: Final = frozenset({"text", "input_text", "output_text"})


class UnknownRole(Refused):
    """A message whose role is none of those that are known; they are listed."""

    status, code, title = 422, "unknown_role", "Unknown role"
    remediation = "Use one of the roles in `allowed`."


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an assistant's message asks for; ``arguments`` is decoded JSON."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its text, and where it comes from, which is what decides how it is judged."""

    index: int
    source: Source
    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order, and how many of their parts were no text."""

    messages: tuple[Message, ...]
    unread_parts: int


def read_messages(wanted: Wanted) -> Conversation:
    """Read the messages of a call that has some.

    Raises:
        UnknownRole: a role that is not known.
        TextTooLong: more than 100,000 code points together.
        MemberInvalid, UnknownChoice: a message is not as it should be, or there are more than 200.
    """
    given = wanted.messages or []
    if len(given) > MOST_MESSAGES:
        raise MemberInvalid(f"`messages` has {len(given):,}, at most {MOST_MESSAGES} are read.", "/messages")
    read = [_message(index, one) for index, one in enumerate(given)]
    length = sum(len(message.text) + sum(_length(call) for call in message.calls) for message, _ in read)
    if length > MAX_CHARS:
        raise TextTooLong(
            f"The messages have {length:,} code points together; at most {MAX_CHARS:,} are judged at once.",
            "/messages",
            limit=MAX_CHARS,
            length=length,
        )
    return Conversation(tuple(message for message, _ in read), sum(unread for _, unread in read))


def _message(index: int, given: Any) -> tuple[Message, int]:
    place = f"/messages/{index}"
    if not isinstance(given, dict):
        raise MemberInvalid(f"A message is an object, not {kind_of(given)}.", place)
    role = given.get("role")
    if not isinstance(role, str) or role not in _SOURCES:
        raise UnknownRole(f"`role` is one of {', '.join(_SOURCES)}.", f"{place}/role", allowed=list(_SOURCES))
    source = _SOURCES[role]
    channel = given.get("channel")
    if channel is not None:
        choice_in(channel, _CHANNELS, f"{place}/channel")
        if channel == "external" or source == "user":
            source = channel
    text, unread = _content(given.get("content"), f"{place}/content")
    return Message(index, source, text, _calls(given.get("tool_calls"), f"{place}/tool_calls")), unread


def _content(given: Any, place: str) -> tuple[str, int]:
    if given is None or isinstance(given, str):
        return given or "", 0
    if not isinstance(given, list):
        raise MemberInvalid(f"`content` is a string or a list of parts, not {kind_of(given)}.", place)
    texts: list[str] = []
    for number, part in enumerate(given):
        if not isinstance(part, dict):
            raise MemberInvalid(f"A part is an object, not {kind_of(part)}.", f"{place}/{number}")
        if str(part.get("type", "text")) in _TEXTS:
            text = part.get("text")
            if not isinstance(text, str):
                raise MemberInvalid(
                    f"`text` of a part is a string, not {kind_of(text)}.", f"{place}/{number}/text"
                )
            texts.append(text)
    return "\n".join(texts), len(given) - len(texts)


def _calls(given: Any, place: str) -> tuple[ToolCall, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise MemberInvalid(f"`tool_calls` is a list, not {kind_of(given)}.", place)
    return tuple(_call(one, f"{place}/{number}") for number, one in enumerate(given))


def _call(given: Any, place: str) -> ToolCall:
    if not isinstance(given, dict):
        raise MemberInvalid(f"A tool call is an object, not {kind_of(given)}.", place)
    inner = given.get("function")
    said = inner if isinstance(inner, dict) else given
    name, identity = said.get("name"), given.get("id", "")
    if not isinstance(name, str) or not name:
        raise MemberInvalid("A tool call has a `name`.", f"{place}/name")
    if not isinstance(identity, str):
        raise MemberInvalid("`id` of a tool call is a string.", f"{place}/id")
    return ToolCall(identity, name, _arguments(said.get("arguments"), f"{place}/arguments"))


def _arguments(given: Any, place: str) -> Mapping[str, Any]:
    """Return arguments; what is a JSON text is decoded, what is none is one argument as it stands."""
    if given is None:
        return {}
    if isinstance(given, str):
        try:
            said, _, _ = decode(given.encode())
        except InvalidJson:
            return {"arguments": given}
        return said if isinstance(said, dict) else {"arguments": said}
    if not isinstance(given, dict):
        raise MemberInvalid(f"`arguments` is an object or its JSON, not {kind_of(given)}.", place)
    return given


def _length(call: ToolCall) -> int:
    return len(json.dumps(call.arguments, ensure_ascii=False))


def texts_of(messages: Sequence[Message], *sources: Source) -> list[str]:
    """Return the texts of the messages from these sources."""
    return [message.text for message in messages if message.source in sources and message.text]
