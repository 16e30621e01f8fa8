"""Check where the destinations of tool calls come from; only engine processes do."""

import json

from guardhouse.analysis.injection.provenance import Tool, check_call, readings
from guardhouse.detections.call_task import (
    CallsAsk,
    CallToCheck,
    CheckedCall,
    CheckedCalls,
    UnfoundedArgument,
)

Read = list[tuple[int, bool, list[str]]]


def checked(ask: CallsAsk) -> CheckedCalls:
    """Check calls against what was said before each of them."""
    read = [(one.index, one.trusted, readings(one.text)) for one in ask.said]
    return CheckedCalls(tuple(_checked(call, read) for call in ask.calls))


def _checked(call: CallToCheck, read: Read) -> CheckedCall:
    known, seen = (
        [
            text
            for index, said_by, texts in read
            if index < call.index and said_by == trusted
            for text in texts
        ]
        for trusted in (True, False)
    )
    tool = Tool(call.sensitive, call.destinations, call.allow)
    done = check_call(json.loads(call.arguments), tool, known, seen)
    return CheckedCall(
        done.decision,
        tuple(UnfoundedArgument(one.argument, one.kind, one.value, one.why) for one in done.findings),
    )
