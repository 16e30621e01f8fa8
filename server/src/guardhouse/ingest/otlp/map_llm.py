"""What the attributes of a call to a model say, in the words that streams of type ``llm`` are judged by.

Names are OpenTelemetry's semantic conventions for generative AI, with those of earlier versions behind them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from guardhouse.anomalies.streams.redact import redact_value
from guardhouse.ingest.otlp.values import value_of

PREFIX: Final = "gen_ai."
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "template_id": ("gen_ai.prompt.name", "gen_ai.prompt.template_id"),
    "prompt": ("gen_ai.input.messages", "gen_ai.prompt", "gen_ai.content.prompt"),
    "response": ("gen_ai.output.messages", "gen_ai.completion", "gen_ai.content.completion"),
    "model": ("gen_ai.response.model", "gen_ai.request.model"),
    "prompt_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "response_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "finish_reason": ("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason"),
    "tool_calls": ("gen_ai.tool.name",),
    "conversation_id": ("gen_ai.conversation.id",),
}
_LISTS: Final = frozenset({"tool_calls"})
_WHOLE_TEXTS: Final = frozenset({"prompt", "response"})
MAX_TEXT: Final = 32 << 10


def is_of_model(attributes: Iterable[KeyValue]) -> bool:
    """Tell whether a record is about a call to a model."""
    return any(attribute.key.startswith(PREFIX) for attribute in attributes)


def model_call(attributes: Iterable[KeyValue], latency_us: int | None = None) -> dict[str, Any]:
    """Return what is known of a call, without secrets; what was not said is absent."""
    said = {one.key: value_of(one.value) for one in attributes if one.key.startswith(PREFIX)}
    found: dict[str, Any] = {}
    for member, names in _NAMES.items():
        value = next((said[name] for name in names if said.get(name) is not None), None)
        if value is not None:
            found[member] = _as_member(member, value)
    if latency_us is not None:
        found["latency_ms"] = latency_us / 1000
    cleaned: dict[str, Any] = redact_value(found)
    return cleaned


def _as_member(member: str, value: Any) -> Any:
    if member in _LISTS:
        return value if isinstance(value, list) else [value]
    if isinstance(value, list) and member == "finish_reason":
        return value[0] if value else None
    if member in _WHOLE_TEXTS:
        return str(value)[:MAX_TEXT]
    return value
