"""What is answered where the engine cannot, under each fail mode of a policy."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from guardhouse.detections import engine_pool
from guardhouse.detections.ask_engine import EngineBusy
from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import Detection, answer, detect
from guardhouse.detections.policy import FailMode, Policy
from guardhouse.detections.read_request import Wanted
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from server.tests.components.door_at_noon import clock, resources
from server.tests.detections.engines import children

__all__ = ["clock", "resources"]

NOBODY = TenantKey(UUID(int=0), 0)


@pytest_asyncio.fixture
async def desk(resources: Resources) -> AsyncIterator[Desk]:
    opened = Desk(resources)
    yield opened
    await opened.close()


def said(found: Detection) -> tuple[object, ...]:
    body = answer(found)
    assert body["degraded"] is True
    assert body["score"] is None
    return body["decision"], body["is_malicious"], body["verdict_source"], body["fallback_reason"]


@pytest.mark.parametrize(("mode", "decision"), [("closed", "block"), ("open", "allow")])
async def test_a_full_line_is_answered_at_once_by_fail_modes_that_say_how(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, mode: FailMode, decision: str
) -> None:
    monkeypatch.setattr(engine_pool, "MOST_WAITING", 0)
    found = await detect(desk, NOBODY, Policy(fail_mode=mode), Wanted("Hello"))
    assert said(found) == (decision, decision == "block", "none", "overloaded")


async def test_a_full_line_is_said_to_callers_whose_policy_trusts_the_engine(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_pool, "MOST_WAITING", 0)
    with pytest.raises(EngineBusy):
        await detect(desk, NOBODY, Policy(fail_mode="embedded"), Wanted("Hello"))


@pytest.mark.parametrize(
    ("mode", "decision"), [("embedded", "block"), ("closed", "block"), ("open", "allow")]
)
async def test_an_engine_that_fails_or_is_late_leaves_the_decision_to_the_fail_mode(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, mode: FailMode, decision: str
) -> None:
    policy = Policy(fail_mode=mode)
    assert (await detect(desk, NOBODY, policy, Wanted("Hello"))).judged.source == "engine"
    (process,) = children()
    process.suspend()
    late = await detect(desk, NOBODY, policy, Wanted("Hello there", seconds=0.2))
    assert said(late) == (decision, decision == "block", "none", "overloaded")
    process.kill()
    monkeypatch.setattr(engine_pool, "PATIENCE_SECONDS", -1.0)
    failed = await detect(desk, NOBODY, policy, Wanted("Hello once more"))
    assert said(failed) == (decision, decision == "block", "none", "engine_failed")


async def test_in_the_shadow_nothing_is_blocked_not_even_without_a_verdict(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_pool, "MOST_WAITING", 0)
    found = await detect(desk, NOBODY, Policy(fail_mode="closed", shadow=True), Wanted("Hello"))
    assert (found.decision, found.would_decide) == ("allow", "block")
