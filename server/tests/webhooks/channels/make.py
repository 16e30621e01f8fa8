"""Channels made over HTTP, and fakes of the two services behind them: real sockets, the documented answers."""

import json
from typing import Any

import httpx

from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from server.tests.components.receiver import Receiver, Turn, answer

ROUTING_KEY = "R0UT1NGKEYR0UT1NGKEYR0UT1NGKEY01"
QUICK = [0.05, 0.05]


async def slack(turn: Turn) -> None:
    """Answer as an incoming webhook of Slack does."""
    message = json.loads(turn.request.body)
    if not message.get("text"):
        await answer(400, b"no_text")(turn)
    else:
        await answer(200, b"ok")(turn)


async def pagerduty(turn: Turn) -> None:
    """Answer as the Events API v2 does: 202, or 400 for a key or an event that it does not know."""
    event = json.loads(turn.request.body)
    known = event.get("routing_key") == ROUTING_KEY and turn.request.path == "/v2/enqueue"
    if known and event.get("event_action") in {"trigger", "acknowledge", "resolve"}:
        await answer(202, json.dumps({"status": "success", "dedup_key": event["dedup_key"]}).encode())(turn)
    else:
        await answer(400, b'{"status":"invalid event","errors":["Invalid routing key"]}')(turn)


async def channel(admin: httpx.AsyncClient, kind: str, **wanted: Any) -> dict[str, Any]:
    """Make a channel that hears of keys."""
    body = {"kind": kind, "name": "on call", "kinds": ["key.*"], "group_seconds": 0} | wanted
    made = await admin.post("/api/v1/channels", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    """Return what came, decoded."""
    return [json.loads(request.body) for request in receiver.requests]


def context(resources: Resources, name: str) -> JobContext:
    """Return what a schedule is run with."""
    now = resources.clock.now()
    return JobContext(resources, ClaimedJob(1, name, "null", None, "platform", 1, 0, now, str(new_id())))
