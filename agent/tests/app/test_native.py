"""What is different where the server is a Guardhouse: instances, ledgers, merging, coding, rules within a second."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.tests.app.conftest import MakeAgent, adds_up, attack, event, metric
from agent.tests.app.sink import Script, Sink, wait_for
from guard_agent.client import GuardAgentHandler

RULES: dict[str, Any] = {"rule_id": "gh-shop", "version": 3, "ttl": 60, "ip_blacklist": ["203.0.113.7"]}


def known_native(agent: GuardAgentHandler) -> bool:
    engine = agent._engine
    return engine is not None and engine.sender.native


def test_batches_and_statuses_carry_the_instance_and_its_ledger(
    native_sink: Sink, make_agent: MakeAgent
) -> None:
    agent = make_agent(
        native_sink, durability="auto", compression_threshold=1, service="shop", tags={"a": "b"}
    )
    agent.send_event(attack("learns"))
    wait_for(lambda: known_native(agent) and native_sink.names())
    agent.send_event(attack("native"))
    wait_for(lambda: len(native_sink.names()) == 2)
    agent.stop()
    batch = native_sink.batches[-1]
    instance = batch.document["instance_id"]
    assert batch.headers["x-guardhouse-instance"] == instance
    assert batch.headers["idempotency-key"] == batch.document["batch_id"]
    assert batch.headers["content-encoding"] == "zstd"
    assert adds_up(batch.document["ledger"])
    assert batch.document["ledger"]["events"]["captured"] == 2
    goodbye = native_sink.of("/api/v1/status")[-1].document
    about = goodbye["guardhouse"]
    assert (about["instance_id"], about["ended"], about["service"], about["tags"]) == (
        instance, True, "shop", {"a": "b"},
    )  # fmt: skip
    assert about["ledger"]["events"]["delivered"] == goodbye["events_sent"] == 2
    assert about["seq"] > batch.document["seq"]
    assert about["durability"] == "disk"


def test_three_answers_without_the_header_end_it(native_sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(native_sink)
    wait_for(lambda: known_native(agent))
    native_sink.native = False
    for number in range(4):
        agent.send_event(attack(number))
        agent.flush_buffer()
    wait_for(lambda: not known_native(agent))
    agent.send_event(attack("plain"))
    agent.flush_buffer()
    assert "idempotency-key" not in native_sink.batches[-1].headers


def test_noise_and_metrics_are_merged_and_counted(native_sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(native_sink, flush_interval=3600, noise="aggregate", aggregate_metrics=True)
    moment = datetime(2026, 11, 1, 12, 0, 3, tzinfo=UTC)
    for number in range(100):
        noise = event("n", "suspicious_request", metadata={"component": "proxy"})
        noise.timestamp = moment + timedelta(seconds=number)
        agent.send_event(noise)
        sample = metric("/a", tags={"method": "GET", "status": "200" if number % 2 else "404"})
        sample.timestamp, sample.value = moment, float(number)
        agent.send_metric(sample)
    agent.send_metric(metric("/a", tags={"custom": "stays alone"}))
    agent.flush_buffer()
    (merged,) = native_sink.stored["events"]
    assert merged["metadata"] == {
        "component": "proxy",
        "count": 100,
        "first": moment.isoformat(),
        "last": (moment + timedelta(seconds=99)).isoformat(),
    }
    cells = {item["tags"].get("status"): item for item in native_sink.stored["metrics"]}
    assert set(cells) == {"2xx", "4xx", None}
    assert (cells["2xx"]["count"], cells["2xx"]["sum"], cells["2xx"]["min"], cells["2xx"]["max"]) == (
        50,
        2500.0,
        1.0,
        99.0,
    )
    assert sum(cells["4xx"]["buckets"].values()) == 50
    ledger = agent.ledger()
    assert (ledger["events"]["captured"], ledger["events"]["merged"], ledger["events"]["delivered"]) == (
        100,
        99,
        1,
    )
    assert (ledger["metrics"]["captured"], ledger["metrics"]["merged"], ledger["metrics"]["delivered"]) == (
        101,
        98,
        3,
    )
    assert adds_up(ledger)


def test_new_rules_are_told_by_long_polling(native_sink: Sink, make_agent: MakeAgent) -> None:
    told: list[Any] = []
    agent = make_agent(native_sink, on_rules=told.append)
    wait_for(lambda: native_sink.of("/api/v1/rules"))
    with native_sink.lock:
        native_sink.rules, native_sink.etag = RULES, '"3"'
    wait_for(lambda: told)
    assert told[0].ip_blacklist == ["203.0.113.7"]
    assert agent.rules is not None
    assert agent.get_dynamic_rules() == agent.rules
    assert agent.rules.version == 3
    polls = native_sink.of("/api/v1/rules")
    assert any(request.path.endswith("?wait=25") and "if-none-match" in request.headers for request in polls)


@pytest.mark.parametrize(
    ("expires", "known"), [(None, True), (datetime(2020, 1, 1, tzinfo=UTC).isoformat(), False)]
)
def test_rules_outlive_a_restart_without_a_server_unless_they_expired(
    sink: Sink, make_agent: MakeAgent, expires: str | None, *, known: bool
) -> None:
    sink.rules = RULES | {"expires_at": expires}
    first = make_agent(sink, durability="auto")
    wait_for(lambda: first.get_stats()["rules_fetched"])
    first.stop()
    sink.choose = lambda _: Script(reset=True)
    second = make_agent(sink, durability="auto")
    wait_for(lambda: second.get_stats()["loop_failures"]["rules"])
    assert (second.rules is not None) is known
    assert (second.get_dynamic_rules() is not None) is known


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"rule_id": 5, "ttl": "x"}', b"null", b'{"bans": 3}'])
def test_unreadable_rules_leave_the_ones_in_force(sink: Sink, make_agent: MakeAgent, body: bytes) -> None:
    sink.rules = RULES | {"ttl": 0}
    agent = make_agent(sink)
    wait_for(lambda: agent.rules)
    sink.choose = lambda request: Script(body=body) if request.path.startswith("/api/v1/rules") else None
    agent.get_dynamic_rules()
    if body != b"null":
        assert agent.rules is not None
        assert agent.get_stats()["loop_failures"]["rules"] > 0
