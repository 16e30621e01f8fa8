"""A conversation: each message is judged by who wrote it, the last of the user also as one text; the worst decides.

An attack may be split over messages, none of which is one; so the last three of the user are read together too.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from guardhouse.detections.conversations.check_tool_calls import JudgedCall, check_tool_calls
from guardhouse.detections.conversations.read_messages import (
    Conversation,
    Message,
    read_messages,
    texts_of,
)
from guardhouse.detections.decide import Decision
from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import Detection, detect, sanitized
from guardhouse.detections.engine_pool import EngineFailedError, TooLateError
from guardhouse.detections.output.read_output import WantedScan
from guardhouse.detections.output.scan_answer import ScannedAnswer, finding_body, scan_answer
from guardhouse.detections.policy import Action, Policy
from guardhouse.detections.read_request import Wanted
from guardhouse.foundation.database import TenantKey

JOINED: Final = 3
_RANK: Final[tuple[Decision, ...]] = ("allow", "review", "block")


@dataclass(frozen=True, slots=True)
class _Judged:
    """What was judged as one text: a message, or several joined."""

    messages: tuple[Message, ...]
    found: Detection


async def detect_conversation(desk: Desk, tenant: TenantKey, policy: Policy, wanted: Wanted) -> Detection:
    """Judge a conversation under a policy.

    The detection is that of the text that decided, with what was found in all of them ``beside`` it.

    Raises:
        UnknownRole, TextTooLong, MemberInvalid, UnknownChoice: as :func:`read_messages`.
        EngineBusy: more texts wait than may wait, and the policy has no answer of its own for that.
    """
    read = read_messages(wanted)
    judged = await _judge_texts(desk, tenant, policy, wanted, read.messages)
    scanned = await _scan_answers(desk, tenant, policy, wanted, read.messages)
    instructing = {
        one.messages[0].index
        for one in judged
        if one.found.judged.verdict is not None and one.found.judged.verdict.instructions
    }
    calls, unchecked = await _check_calls(desk, policy, wanted, read.messages, instructing)
    worst = max(judged, key=lambda one: (_RANK.index(one.found.would_decide), one.found.score_milli or 0))
    decisions = [one.found.would_decide for one in judged]
    decisions += [_as_decision(one.would_decide) for one in scanned.values()]
    decisions += [one.decision for one in calls]
    decisions += [policy.without_verdict()] if unchecked else []
    return replace(
        worst.found,
        wanted=_told(wanted, read, unchecked=unchecked),
        would_decide=max(decisions, key=_RANK.index),
        took_us=sum(one.found.took_us for one in judged) + sum(one.took_us for one in scanned.values()),
        beside={
            "message": worst.messages[0].index if len(worst.messages) == 1 else None,
            "messages": _rows(policy, wanted, read, judged, scanned),
            "tool_calls": [
                {
                    "id": one.call.id,
                    "name": one.call.name,
                    "decision": _in_shadow(policy, one.decision),
                    "findings": one.findings,
                }
                for one in calls
            ],
        },
    )


async def _judge_texts(
    desk: Desk, tenant: TenantKey, policy: Policy, wanted: Wanted, messages: Sequence[Message]
) -> list[_Judged]:
    """Judge what users and documents say; where nobody says anything, nothing is judged as the empty text is."""
    groups: list[tuple[Message, ...]] = [
        (one,) for one in messages if one.source in {"user", "external"} and one.text
    ]
    users = [one for one in messages if one.source == "user" and one.text][-JOINED:]
    if len(users) > 1:
        groups.append(tuple(users))
    if not groups:
        return [_Judged((), await detect(desk, tenant, policy, replace(wanted, text="", channel="user")))]
    found = await asyncio.gather(
        *(detect(desk, tenant, policy, _of_group(wanted, group)) for group in groups)
    )
    return [_Judged(group, one) for group, one in zip(groups, found, strict=True)]


def _of_group(wanted: Wanted, group: tuple[Message, ...]) -> Wanted:
    place = f"/messages/{group[0].index}/content"
    channel = "external" if group[0].source == "external" else "user"
    return replace(
        wanted, text="\n".join(one.text for one in group), channel=channel, place=place, messages=None
    )


async def _scan_answers(
    desk: Desk, tenant: TenantKey, policy: Policy, wanted: Wanted, messages: Sequence[Message]
) -> dict[int, ScannedAnswer]:
    """Scan what the assistant said, each answer with what came before it."""
    answers = [one for one in messages if one.source == "assistant" and one.text]
    scanned = await asyncio.gather(
        *(
            scan_answer(
                desk,
                tenant,
                policy,
                WantedScan(
                    one.text,
                    system_prompt="\n".join(texts_of(messages[: one.index], "trusted")) or None,
                    seconds=wanted.seconds,
                ),
                tuple(texts_of(messages[: one.index], "user", "external")),
            )
            for one in answers
        )
    )
    return {one.index: done for one, done in zip(answers, scanned, strict=True)}


async def _check_calls(
    desk: Desk, policy: Policy, wanted: Wanted, messages: Sequence[Message], instructing: set[int]
) -> tuple[list[JudgedCall], bool]:
    """Check the tool calls; where no engine could, nothing is known of them and the second is true."""
    try:
        return await check_tool_calls(desk, policy, messages, instructing, wanted.seconds), False
    except (EngineFailedError, TooLateError):
        return [], True


def _rows(
    policy: Policy,
    wanted: Wanted,
    read: Conversation,
    judged: Sequence[_Judged],
    scanned: dict[int, ScannedAnswer],
) -> list[dict[str, Any]]:
    """Return one row per message that was looked at, and one for those that were read together."""
    rows: list[dict[str, Any]] = []
    for one in judged:
        if not one.messages:
            continue
        row = _row(one.messages[0].index if len(one.messages) == 1 else None, one.found.wanted.channel)
        row["joined"] = [message.index for message in one.messages] if len(one.messages) > 1 else []
        row["score"] = None if one.found.score_milli is None else one.found.score_milli / 1_000
        row["decision"] = one.found.decision
        row["spans"] = _spans(one.found)
        if wanted.sanitize and one.found.wanted.channel == "external":
            row["sanitized_text"] = sanitized(one.found.wanted.text, row["spans"])
        rows.append(row)
    for index, done in scanned.items():
        row = _row(index, "output")
        row["decision"] = _in_shadow(policy, _as_decision(done.would_decide))
        row["findings"] = [finding_body(one) for one in done.findings]
        rows.append(row)
    last = len(read.messages)
    return sorted(rows, key=lambda row: last if row["index"] is None else row["index"])


def _row(index: int | None, channel: str) -> dict[str, Any]:
    return {
        "index": index,
        "joined": [],
        "channel": channel,
        "score": None,
        "decision": "allow",
        "spans": [],
        "findings": [],
        "sanitized_text": None,
    }


def _spans(found: Detection) -> list[tuple[int, int]]:
    verdict = found.judged.verdict
    if verdict is None:
        return []
    if found.wanted.channel == "external":
        return [one.span for one in verdict.instructions]
    return sorted({reason.span for reason in verdict.reasons}) if found.flagged else []


def _told(wanted: Wanted, read: Conversation, *, unchecked: bool) -> Wanted:
    """Return the call as the answer and the record tell of it."""
    more = [f"parts_not_read:{read.unread_parts}"] if read.unread_parts else []
    more += ["tool_calls_not_checked"] if unchecked else []
    text = "\n".join(f"{one.source}: {one.text}" for one in read.messages)
    return replace(wanted, text=text, sanitize=False, warnings=(*wanted.warnings, *more))


def _as_decision(action: Action) -> Decision:
    """Return what a conversation makes of an action: a text that should be redacted wants a second look."""
    return "review" if action == "redact" else action


def _in_shadow(policy: Policy, decision: Decision) -> Decision:
    return "allow" if policy.shadow else decision
