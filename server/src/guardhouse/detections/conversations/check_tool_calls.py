"""The tool calls of a conversation: whether somebody with a right to it named where they go to."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from guardhouse.detections.ask_engine import check_calls
from guardhouse.detections.call_task import CallsAsk, CallToCheck, CheckedCall, SaidText
from guardhouse.detections.conversations.read_messages import Message, ToolCall
from guardhouse.detections.decide import Decision
from guardhouse.detections.desk import Desk
from guardhouse.detections.policy import Policy, ToolPolicy

_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """A call, what is decided, and why."""

    call: ToolCall
    decision: Decision
    findings: list[dict[str, Any]]


async def check_tool_calls(
    desk: Desk, policy: Policy, messages: Sequence[Message], instructing: Collection[int], seconds: float
) -> list[JudgedCall]:
    """Check every call against what was said before it.

    Args:
        desk: The parts of this process.
        policy: The version in force; its ``tools`` say which tools act on the world.
        messages: The conversation.
        instructing: Numbers of the external messages that hold instructions.
        seconds: How long it may take.

    Raises:
        EngineBusy, EngineFailedError, TooLateError: nothing is known of the calls.
    """
    calls = [(message, call) for message in messages for call in message.calls]
    if not calls:
        return []
    said = tuple(
        SaidText(message.index, message.source != "external", message.text)
        for message in messages
        if message.source != "assistant" and message.text
    )
    asked = tuple(_to_check(message.index, call, tool_of(policy, call.name)) for message, call in calls)
    checked = await check_calls(desk.engine, CallsAsk(said, asked), seconds)
    return [
        _judged(call, tool_of(policy, call.name), done, follows=_follows(messages, message, instructing))
        for (message, call), done in zip(calls, checked.calls, strict=True)
    ]


def tool_of(policy: Policy, name: str) -> ToolPolicy:
    """Return what a policy says of a tool: by its name, else by ``*``, else that it is harmless."""
    return policy.tools.get(name) or policy.tools.get("*") or ToolPolicy()


def _to_check(index: int, call: ToolCall, tool: ToolPolicy) -> CallToCheck:
    return CallToCheck(index, json.dumps(call.arguments), tool.sensitive, tool.destinations, tool.allow)


def _follows(messages: Sequence[Message], calling: Message, instructing: Collection[int]) -> bool:
    """Return whether what was read since the assistant's last turn holds an instruction."""
    for message in reversed(messages[: calling.index]):
        if message.source == "assistant":
            return False
        if message.index in instructing:
            return True
    return False


def _judged(call: ToolCall, tool: ToolPolicy, done: CheckedCall, *, follows: bool) -> JudgedCall:
    findings: list[dict[str, Any]] = [
        {
            "kind": one.why,
            "argument": one.argument[:_EXCERPT],
            "type": one.kind,
            "value": one.value[:_EXCERPT],
        }
        for one in done.findings
    ]
    decision: Decision = (
        "block" if done.decision == "block" else "review" if done.decision == "review" else "allow"
    )
    if follows and tool.sensitive:
        findings.append({"kind": "instruction_followed", "argument": None, "type": None, "value": None})
        decision = "block" if decision == "block" else "review"
    return JudgedCall(call, decision, findings)
