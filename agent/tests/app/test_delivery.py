"""From a call in the application to a stored item: what arrives, how it looks, and what the calls return."""

import asyncio
import json
import threading
from datetime import UTC, datetime
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from agent.tests.app.conftest import KEY, MakeAgent, adds_up, attack, event, metric
from agent.tests.app.sink import Sink, wait_for
from guard_agent._pipeline.send import Sender
from guard_agent._version import USER_AGENT, __version__
from guard_agent.client import GuardAgentHandler, guard_agent
from guard_agent.config import AgentConfig
from guard_agent.encryption import PayloadEncryptor
from guard_agent.models import AgentStatus
from guard_agent.signing import sign_payload


def test_everything_captured_arrives_once_and_the_ledger_says_so(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    for number in range(700):
        agent.send_event(attack(number) if number % 10 == 0 else event(number))
        agent.send_metric(metric(number))
    wait_for(lambda: agent.ledger()["events"]["delivered"] == agent.ledger()["metrics"]["delivered"] == 700)
    assert sorted(sink.names(), key=int) == [str(number) for number in range(700)]
    assert sink.names("metrics") == [str(number) for number in range(700)]
    ledger = agent.ledger()
    assert adds_up(ledger)
    assert ledger["events"]["captured"] == ledger["metrics"]["captured"] == 700
    assert [len(batch.document["metrics"]) <= 500 for batch in sink.batches]
    stats = agent.get_stats()
    assert (stats["events_sent"], stats["metrics_sent"], stats["events_failed"]) == (700, 700, 0)
    assert stats["buffer_stats"]["current_event_buffer_size"] == 0


def test_a_batch_looks_as_the_released_agents_send_it(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, guard_version="8.1.2", guard_core_version="4.4.0", compression_threshold=100)
    agent.send_event(attack("x", ip_address="203.0.113.9", metadata={"kind": "sqli"}, custom="kept"))
    wait_for(lambda: sink.batches)
    (batch,) = sink.batches
    assert batch.path == "/api/v1/events"
    wanted = {
        "x-api-key": KEY,
        "x-project-id": "shop",
        "x-agent-install-id": "install-1",
        "user-agent": USER_AGENT,
        "content-encoding": "gzip",
        "content-type": "application/json",
    }
    assert {name: batch.headers.get(name) for name in wanted} == wanted
    assert batch.headers["x-guardhouse-instance"]
    assert "idempotency-key" not in batch.headers
    document = batch.document
    assert list(document) == [
        "project_id", "events", "metrics", "batch_id", "created_at", "compressed", "agent_version",
        "guard_version", "guard_core_version",
    ]  # fmt: skip
    assert document["agent_version"] == __version__
    assert document["compressed"] is False
    (item,) = document["events"]
    assert item["custom"] == "kept"
    assert item["metadata"] == {"kind": "sqli"}
    assert item["ip_address"] == "203.0.113.9"


def test_attacks_overtake_everything_else(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, flush_interval=3600, buffer_size=10_000)
    agent.send_event(event("later"))
    agent.send_event(attack("now"))
    wait_for(sink.names)
    assert sink.names() == ["now"]
    agent.flush_buffer()
    assert sink.names() == ["now", "later"]


@pytest.mark.parametrize("sync", [False, True])
def test_without_a_loop_calls_return_plain_values(sink: Sink, make_agent: MakeAgent, *, sync: bool) -> None:
    agent = make_agent(sink, sync=sync)
    assert agent.health_check() is True
    assert agent.is_running() is True
    assert isinstance(agent.get_status(), AgentStatus)
    assert agent.get_dynamic_rules() is None
    agent.send_event(event("one"))
    assert agent.flush_buffer() is None
    assert sink.names() == ["one"]
    assert agent.stop() is None
    assert agent.is_running() is False
    assert agent.health_check() is False


async def test_on_a_loop_every_call_can_be_awaited_or_ignored(sink: Sink, make_agent: MakeAgent) -> None:
    agent: Any = make_agent(sink, start=False)
    await agent.start()
    agent.send_event(event("ignored"))
    await agent.send_event(event("awaited"))
    await asyncio.create_task(agent.send_event(event("a task")))
    await asyncio.gather(agent.send_event(event("gathered")), agent.send_metric(metric("m")))
    await asyncio.wait_for(agent.send_event(event("waited for")), 5)
    await asyncio.create_task(agent.flush_buffer())
    assert sorted(sink.names()) == ["a task", "awaited", "gathered", "ignored", "waited for"]
    assert agent.health_check()
    assert await agent.is_running() is True
    assert (await agent.get_status()).events_sent == 5
    assert await agent.get_dynamic_rules() is None
    await asyncio.gather(agent.stop(), agent.stop())
    assert not agent.is_running()


async def test_the_blocking_agent_blocks_on_a_loop_too(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, sync=True)
    agent.send_event(event("one"))
    assert agent.flush_buffer() is None
    assert sink.names() == ["one"]


def test_any_thread_may_capture(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)

    def capture(thread: int) -> None:
        for number in range(200):
            agent.send_event(event(f"{thread}-{number}"))

    threads = [threading.Thread(target=capture, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: agent.ledger()["events"]["delivered"] == 3200)
    assert len(set(sink.names())) == 3200
    assert adds_up(agent.ledger())


class Hostile:
    """An object whose every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def hostile_items() -> list[Any]:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    moment = datetime.now(UTC)
    return [
        {"timestamp": moment, "event_type": "x", "reason": "cycle", "metadata": loop},
        {"timestamp": moment, "event_type": "x", "reason": "long", "metadata": {"text": "y" * 5_000_000}},
        {"timestamp": moment, "event_type": "x", "reason": "lock", "metadata": {"lock": threading.Lock()}},
        {
            "timestamp": moment,
            "event_type": "x",
            "reason": "generator",
            "metadata": {"g": (n for n in range(3))},
        },
        {"timestamp": moment, "event_type": "x", "reason": "bytes", "metadata": {"b": b"\xff\x00", "s": {1}}},
        {"timestamp": moment, "event_type": "x", "reason": "nan", "metadata": {"n": float("nan")}},
        {"timestamp": moment, "event_type": "x", "reason": "surrogate \ud800"},
        {"event_type": "x", "reason": "no time"},
        SimpleNamespace(event_type="x", timestamp=moment, reason="duck", ip_address="198.51.100.1"),
    ]


def test_whatever_is_captured_is_sent_or_counted(sink: Sink, make_agent: MakeAgent) -> None:
    told: list[str] = []
    agent = make_agent(sink, on_error=lambda stage, *_: told.append(stage))
    for item in hostile_items():
        agent.send_event(item)
    nothings: list[Any] = [None, 5, "text", Hostile(), {}]
    for nothing in nothings:
        agent.send_event(nothing)
    agent.send_metric({"metric_type": "request_count"})
    agent.flush_buffer()
    wait_for(lambda: agent.ledger()["events"]["delivered"] == len(hostile_items()))
    assert sorted(name.split()[0] for name in sink.names()) == [
        "bytes", "cycle", "duck", "generator", "lock", "long", "nan", "no", "surrogate",
    ]  # fmt: skip
    events = {item["reason"]: item for item in sink.stored["events"]}
    assert events["bytes"]["metadata"] == {"b": "\ufffd\x00", "s": [1]}
    assert events["nan"]["metadata"] == {"n": "NaN"}
    assert len(events["long"]["metadata"]["text"]) < 2000
    assert agent.ledger()["events"]["dropped"]["invalid"] == 5
    assert adds_up(agent.ledger())
    assert "serialize" in told


def test_sensitive_headers_never_leave(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    hidden = {"Authorization": "s3cret", "x": {"Cookie": ["s3cret"]}, "accept": "*/*"}
    agent.send_event(attack("h", metadata={"headers": hidden, "raw": json.dumps(hidden)}))
    agent.send_metric(metric("m", tags={"x-api-key": "s3cret"}))
    agent.flush_buffer()
    assert sink.names() == ["h"]
    assert all(b"s3cret" not in batch.body for batch in sink.batches)
    assert sink.stored["events"][0]["metadata"]["headers"]["accept"] == "*/*"


def test_hooks_may_change_or_drop_an_item_and_may_fail(sink: Sink, make_agent: MakeAgent) -> None:
    def hook(item: Any) -> Any:
        if item.reason == "drop":
            return None
        if item.reason == "fail":
            raise RuntimeError("a bug")
        if item.reason == "rubbish":
            return 17
        return item.model_copy(update={"reason": "changed"})

    agent = make_agent(sink, before_send=hook)
    for reason in ("drop", "fail", "rubbish", "any"):
        agent.send_event(event(reason))
    agent.flush_buffer()
    assert sorted(sink.names()) == ["changed", "fail", "rubbish"]
    assert agent.ledger()["events"]["dropped"]["before_send"] == 1


def test_sampling_and_switches_are_counted(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, sample_rates={"geo_lookup_failed": 0.0}, enable_metrics=False, hash_ips=True)
    agent.send_event(event("sampled", "geo_lookup_failed"))
    agent.send_event(event("kept", ip_address="192.0.2.1"))
    agent.send_metric(metric("off"))
    agent.flush_buffer()
    ledger = agent.ledger()
    assert sink.names() == ["kept"]
    assert sink.stored["events"][0]["ip_address"] == sha256(b"192.0.2.1").hexdigest()[:16]
    assert ledger["events"]["dropped"]["sampled"] == 1
    assert ledger["metrics"]["dropped"]["disabled"] == 1
    assert adds_up(ledger)


def test_a_switched_off_agent_has_no_thread_and_counts(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, enabled=False)
    agent.send_event(event("off"))
    assert agent.ledger()["events"]["dropped"]["disabled"] == 1
    assert agent.get_stats()["worker"]["alive"] is False
    assert sink.requests == []


def test_after_close_captures_are_counted_and_a_start_begins_anew(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    agent.close()
    agent.send_event(event("late"))
    agent.stop()
    assert agent.ledger()["events"]["dropped"]["disabled"] == 1
    agent.start()
    agent.send_event(event("again"))
    agent.flush_buffer()
    assert sink.names() == ["again"]


def test_an_agent_starts_with_its_first_item_and_stop_before_start_is_nothing(
    sink: Sink, make_agent: MakeAgent
) -> None:
    agent = make_agent(sink, start=False)
    agent.stop()
    agent.start()
    agent.start()
    other = make_agent(sink, start=False)
    other.send_event(event("first"))
    other.flush_buffer()
    assert sink.names() == ["first"]


def test_encrypted_and_signed_bodies_open_with_their_keys(sink: Sink, make_agent: MakeAgent) -> None:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    agent = make_agent(sink, project_encryption_key=key, payload_signing_secret="topsecret")
    agent.send_event(attack("sealed"))
    agent.send_metric(metric("m"))
    agent.flush_buffer()
    wait_for(lambda: len(sink.batches) == 2)
    assert {batch.path for batch in sink.batches} == {"/api/v1/events/encrypted"}
    opened = [PayloadEncryptor(key).decrypt(batch.document["encrypted_payload"]) for batch in sink.batches]
    assert sorted((len(found["events"]), len(found["metrics"])) for found in opened) == [(0, 1), (1, 0)]
    for batch in sink.batches:
        assert batch.headers["x-payload-signature"] == sign_payload(batch.body, secret="topsecret")


def test_one_name_is_one_agent_and_a_second_config_points_it_elsewhere(sink: Sink, native_sink: Sink) -> None:
    def config(target: Sink) -> AgentConfig:
        return AgentConfig(
            api_key=KEY, endpoint=target.url, durability="memory", flush_interval=3600, buffer_size=1000,
            install_signal_handlers=False,
        )  # fmt: skip

    agent = guard_agent(config(sink), name="pointed")
    agent.start()
    agent.send_event(event("old"))
    assert guard_agent(config(native_sink), name="pointed") is agent
    agent.send_event(event("new"))
    agent.flush_buffer()
    wait_for(native_sink.names)
    assert native_sink.names() == ["new"]
    agent.close()
    assert sink.names() == ["old"]
    assert agent.ledger()["events"]["delivered"] == 2


def test_unusable_settings_are_refused_with_every_problem(sink: Sink) -> None:
    config = AgentConfig(api_key="short", endpoint=sink.url, flush_interval=0)
    with pytest.raises(ValueError, match=r"api_key.*flush_interval"):
        GuardAgentHandler(config, name="unusable")


async def test_what_is_sent_for_a_dead_process_says_who_sends_it(sink: Sink) -> None:
    settings = AgentConfig(api_key=KEY, endpoint=sink.url)
    sender = Sender(settings, "install-1", "own")
    for instance in ("own", "dead"):
        await sender.post("/api/v1/status", b"{}", instance=instance, timeout_seconds=20)
    await sender.close()
    said = [
        [request.headers.get(name) for name in ("x-guardhouse-instance", "x-guardhouse-heir")]
        for request in sink.requests
    ]
    assert said == [["own", None], ["dead", "own"]]
