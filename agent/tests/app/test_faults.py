"""What each answer, and each way of getting none, does to a batch: nothing is lost, nothing stored twice."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from agent.tests.app.conftest import MakeAgent, adds_up, attack, event, metric
from agent.tests.app.sink import Request, Script, Sink, wait_for
from guard_agent._pipeline.breaker import OPEN
from guard_agent.encryption import PayloadEncryptor
from guard_agent.exceptions import BufferFullError

TRANSIENT = [
    Script(500),
    Script(502, body=b"<html>bad gateway</html>"),
    Script(503),
    Script(408),
    Script(425),
    Script(418),
    Script(429),
    Script(429, {"Retry-After": "0"}),
    Script(503, {"Retry-After": "0.1"}),
    Script(503, {"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}),
    Script(reset=True),
    Script(200, body=b'{"success":false}'),
    Script(200, body=b'{"success":true,"errors":["x"]}'),
    Script(200, {"Content-Type": "text/html"}, b"<html>sign in</html>"),
]
AFTER_COMMIT = [Script(500, keeps=True), Script(reset=True, keeps=True), Script(409, keeps=True)]
ACCEPTED = [
    Script(201, keeps=True),
    Script(202, keeps=True),
    Script(204, keeps=True),
    Script(200, body=b"OK", keeps=True),
]


@pytest.mark.parametrize("script", TRANSIENT, ids=lambda script: f"{script.status}{script.reset}")
def test_a_failure_that_may_pass_is_repeated_with_the_same_bytes(
    sink: Sink, make_agent: MakeAgent, script: Script
) -> None:
    sink.script = [script]
    agent = make_agent(sink)
    agent.send_event(attack("kept"))
    wait_for(lambda: agent.ledger()["events"]["delivered"] == 1)
    assert sink.names() == ["kept"]
    first, second = sink.batches
    assert first.raw == second.raw
    assert first.document["batch_id"] == second.document["batch_id"]


@pytest.mark.parametrize("script", AFTER_COMMIT, ids=lambda script: f"{script.status}{script.reset}")
def test_what_was_stored_before_the_answer_was_lost_is_counted_as_duplicate(
    sink: Sink, make_agent: MakeAgent, script: Script
) -> None:
    sink.script = [script]
    agent = make_agent(sink)
    agent.send_event(attack("once"))
    wait_for(lambda: agent.ledger()["events"]["duplicates"] == 1)
    assert sink.names() == ["once"]
    assert adds_up(agent.ledger())
    assert len(sink.batches) == 2


@pytest.mark.parametrize("script", ACCEPTED, ids=lambda script: str(script.status))
def test_any_other_success_is_delivery(sink: Sink, make_agent: MakeAgent, script: Script) -> None:
    sink.script = [script]
    agent = make_agent(sink)
    agent.send_event(attack("once"))
    wait_for(lambda: agent.ledger()["events"]["delivered"] == 1)
    agent.stop()
    assert sink.names() == ["once"]
    assert len(sink.batches) == 1


def test_a_conflict_is_sealed_anew_under_another_id_once(sink: Sink, make_agent: MakeAgent) -> None:
    sink.script = [Script(409), Script(409)]
    agent = make_agent(sink)
    agent.send_event(attack("x"))
    wait_for(sink.names)
    first, second, third = [batch.document["batch_id"] for batch in sink.batches]
    assert second == third == f"{first}.r"
    assert agent.ledger()["events"]["captured"] == 1


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("durability", ["memory", "auto"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_poisonous_item_is_found_and_its_siblings_are_delivered(
    sink: Sink, make_agent: MakeAgent, status: int, durability: str, *, encrypted: bool
) -> None:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

    def judge(request: Request) -> Script | None:
        if request.method != "POST" or "batch_id" not in request.document:
            return None
        if encrypted:
            opened = PayloadEncryptor(key).decrypt(request.document["encrypted_payload"])
            request.document |= opened
        if any(item["reason"] == "poison" for item in request.document["events"]):
            return Script(status, body=b'{"code":"poison","detail":"no"}')
        return None

    sink.choose = judge
    settings = {"project_encryption_key": key} if encrypted else {}
    agent = make_agent(sink, durability=durability, flush_interval=3600, buffer_size=1000, **settings)
    for number in range(64):
        agent.send_event(event("poison" if number == 37 else number))
    agent.flush_buffer()
    wait_for(lambda: agent.ledger()["events"]["delivered"] == 63)
    assert sorted(map(int, sink.names())) == [number for number in range(64) if number != 37]
    ledger = agent.ledger()
    assert ledger["events"]["rejected"] == 1
    assert adds_up(ledger)
    assert len(sink.batches) <= 2 * 6 + 1
    engine = agent._engine
    assert engine is not None
    (kept,) = engine.deliverer.quarantine.recent
    assert kept["code"] == "poison"
    assert (kept["item"] is None) is encrypted


def test_a_small_limit_of_the_server_is_learnt(sink: Sink, make_agent: MakeAgent) -> None:
    def limit(request: Request) -> Script | None:
        return Script(413) if len(request.body) > 20_000 else None

    sink.choose = limit
    agent = make_agent(sink, flush_interval=3600, buffer_size=100_000, max_batch_items=5000)
    for number in range(400):
        agent.send_event(event(number))
    agent.flush_buffer()
    wait_for(lambda: agent.ledger()["events"]["delivered"] == 400)
    refused = sum(len(batch.body) > 20_000 for batch in sink.batches)
    for number in range(400, 800):
        agent.send_event(event(number))
    agent.flush_buffer()
    wait_for(lambda: agent.ledger()["events"]["delivered"] == 800)
    assert sorted(map(int, sink.names())) == list(range(800))
    assert sum(len(batch.body) > 20_000 for batch in sink.batches) == refused
    assert agent.ledger()["events"]["rejected"] == 0


def test_an_item_too_large_for_the_server_is_set_aside_alone(sink: Sink, make_agent: MakeAgent) -> None:
    sink.choose = lambda request: Script(413) if b'"big"' in request.body else None
    agent = make_agent(sink, flush_interval=3600)
    agent.send_event(event("big"))
    agent.send_event(event("small"))
    agent.flush_buffer()
    wait_for(lambda: agent.ledger()["events"]["rejected"] == 1)
    wait_for(sink.names)
    assert sink.names() == ["small"]


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refused_key_keeps_everything_until_another_comes(
    sink: Sink, make_agent: MakeAgent, status: int
) -> None:
    sink.choose = lambda request: (
        Script(status) if request.headers["x-api-key"] != "gh_live_new_key_1" else None
    )
    agent = make_agent(sink)
    agent.send_event(attack("kept"))
    wait_for(lambda: not agent.health_check())
    assert agent.health_check() is False
    assert agent.get_status().status == "degraded"
    sent = len(sink.batches)
    agent.send_event(attack("later"))
    agent.flush_buffer()
    assert len(sink.batches) == sent
    agent.update_config(agent.config.model_copy(update={"api_key": "gh_live_new_key_1"}))
    wait_for(lambda: len(sink.names()) == 2)
    assert sorted(sink.names()) == ["kept", "later"]
    wait_for(agent.health_check)
    assert agent.health_check() is True


@pytest.mark.parametrize(
    "script", [Script(302, {"Location": "https://elsewhere.example/"}), Script(404), Script(405)]
)
def test_a_wrong_endpoint_keeps_everything_and_is_named(
    sink: Sink, make_agent: MakeAgent, script: Script
) -> None:
    sink.choose = lambda _: script
    agent = make_agent(sink)
    agent.send_event(attack("kept"))
    wait_for(lambda: agent.get_stats()["lanes"]["events"]["trouble"])
    trouble = agent.get_stats()["lanes"]["events"]["trouble"]
    assert trouble.startswith(str(script.status))
    assert ("elsewhere.example" in trouble) is (script.status == 302)
    assert any(trouble in error for error in agent.get_status().errors)
    sink.choose = lambda _: None
    agent.update_config(agent.config.model_copy())
    wait_for(sink.names)
    assert sink.names() == ["kept"]


def test_five_failures_open_the_breaker_and_other_lanes_run_on(sink: Sink, make_agent: MakeAgent) -> None:
    sink.choose = lambda request: Script(500) if request.path == "/api/v1/events" else None
    agent = make_agent(sink, buffer_size=1)
    agent.send_event(attack("x"))
    wait_for(lambda: agent.get_stats()["lanes"]["events"]["breaker"] == OPEN)
    assert agent.health_check() is False
    tries = len(sink.of("/api/v1/events"))
    assert tries == 5
    agent.send_metric(metric("m"))
    wait_for(lambda: sink.names("metrics"))
    assert sink.names("metrics") == ["m"]
    assert len(sink.of("/api/v1/events")) == tries
    sink.choose = lambda _: None
    wait_for(sink.names)
    assert sink.names() == ["x"]


def test_retry_after_is_obeyed_and_is_no_failure(sink: Sink, make_agent: MakeAgent) -> None:
    sink.script = [Script(503, {"Retry-After": "3600"})]
    agent = make_agent(sink)
    agent.send_event(attack("x"))
    wait_for(lambda: agent.get_stats()["lanes"]["events"]["trouble"])
    engine = agent._engine
    assert engine is not None
    lane = engine.lanes["events"]
    assert lane.breaker.failures == 0
    assert lane._paused_until > 3000
    assert agent.health_check() is True
    assert len(sink.batches) == 1


@pytest.mark.parametrize("settings", [{}, {"durability": "auto"}])
def test_a_silent_server_delays_neither_the_application_nor_the_stop(
    sink: Sink, make_agent: MakeAgent, settings: dict[str, Any]
) -> None:
    sink.choose = lambda _: Script(hang_seconds=60)
    agent = make_agent(sink, shutdown_timeout=0.3, timeout=30, **settings)
    agent.send_event(attack("x"))
    wait_for(lambda: sink.batches)
    for number in range(50):
        agent.send_event(event(number))
    agent.stop()
    engine = agent._engine
    assert engine is not None
    assert not engine.worker.alive
    pending = agent.ledger()["events"]
    assert adds_up(agent.ledger())
    if settings:
        assert pending["pending"]["spool"] == 51
    else:
        assert pending["dropped"]["shutdown_deadline"] == 51


def test_nobody_answers_at_all(make_agent: MakeAgent, sink: Sink) -> None:
    sink.close()
    told: list[str] = []
    agent = make_agent(sink, on_error=lambda stage, error, _: told.append(f"{stage} {error}"))
    agent.send_event(attack("x"))
    wait_for(lambda: agent.get_stats()["lanes"]["events"]["breaker"] == OPEN)
    assert agent.get_status().status == "degraded"
    assert any(line.startswith("transport_send ConnectError") for line in told)
    agent.stop()
    assert agent.ledger()["events"]["dropped"]["shutdown_deadline"] == 1


def test_items_that_the_server_names_as_rejected_are_set_aside(
    native_sink: Sink, make_agent: MakeAgent
) -> None:
    answer = {
        "success": True, "accepted": 3, "duplicates": 1, "rejected": 1, "held": 0, "rolled_up": 0,
        "rejections": [{"index": 2, "key": None, "code": "item_too_large", "detail": "too large"}],
    }  # fmt: skip
    native_sink.script = [Script(body=json.dumps(answer).encode())]
    agent = make_agent(native_sink, durability="auto", flush_interval=3600)
    for number in range(5):
        agent.send_event(event(number))
    agent.flush_buffer()
    ledger = agent.ledger()["events"]
    assert (ledger["delivered"], ledger["duplicates"], ledger["rejected"]) == (3, 1, 1)
    engine = agent._engine
    assert engine is not None
    assert engine.keeper.spool is not None
    line = (engine.keeper.spool.folder.parent / "quarantine" / "items.jsonl").read_text()
    assert json.loads(json.loads(line)["item"])["reason"] == "2"


@pytest.mark.parametrize("policy", ["drop", "block", "raise"])
def test_a_full_memory_is_bounded_and_counted(sink: Sink, make_agent: MakeAgent, policy: str) -> None:
    sink.choose = lambda _: Script(reset=True)
    agent = make_agent(
        sink, max_memory_bytes=1 << 20, buffer_overflow_policy=policy, block_timeout=0.001, buffer_size=50
    )
    refused = 0
    for number in range(4000):
        try:
            agent.send_event(attack(number) if number % 100 == 0 else event(number, "geo_lookup_failed"))
        except BufferFullError:
            refused += 1
    engine = agent._engine
    assert engine is not None
    wait_for(lambda: not len(engine.inbox) or policy != "drop")
    ledger = agent.ledger()["events"]
    assert ledger["captured"] == 4000
    assert ledger["dropped"]["overflow"] > 0
    assert (refused > 0) is (policy == "raise")
    assert engine.keeper.memory_bytes <= 1 << 20
    assert adds_up(agent.ledger())
    if policy == "drop":
        sink.choose = lambda _: None
        wait_for(lambda: not sum(agent.ledger()["events"]["pending"].values()))
        attacks = {str(number) for number in range(0, 4000, 100)}
        assert attacks <= set(sink.names())
