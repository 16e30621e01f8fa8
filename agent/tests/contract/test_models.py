"""Models and settings: what is accepted, what goes on the wire, what is refused."""

import json
import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from guard_agent import config as config_module
from guard_agent.config import AgentConfig, validate_config
from guard_agent.models import DynamicRules, EventType, MetricType, SecurityEvent, SecurityMetric

NOW = datetime(2026, 11, 30, tzinfo=UTC)
KEY = "k" * 20


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_warned", set())


def test_an_event_keeps_what_it_is_given() -> None:
    event = SecurityEvent(timestamp=NOW, event_type=EventType.IP_BANNED, extra_field=[1], metadata=None)
    wire = json.loads(event.model_dump_json())
    assert uuid.UUID(wire["idempotency_key"]).version == 4
    assert (wire["event_type"], wire["extra_field"], wire["metadata"]) == ("ip_banned", [1], {})
    assert (wire["ip_address"], wire["reason"], wire["action_taken"], wire["country"]) == ("", "", "", None)
    event.reason = "changed"
    assert event.description == "changed"
    with pytest.raises(ValidationError):
        SecurityEvent.model_validate({"event_type": "x"})


def test_models_can_be_rebuilt_with_other_plugin_settings() -> None:
    for model in (SecurityEvent, SecurityMetric):
        before = model.model_config.get("plugin_settings")
        model.model_config["plugin_settings"] = {"logfire": {"record": "all"}}
        assert model.model_rebuild(force=True) is True
        model.model_config["plugin_settings"] = before or {}
        model.model_rebuild(force=True)
    assert SecurityEvent(timestamp=NOW, event_type="x").event_type == "x"


def test_rules_read_a_whole_document_of_the_platform() -> None:
    rules = DynamicRules.model_validate_json(
        '{"rule_id":"gh-shop-0","version":7,"endpoint_rate_limits":{"/a":[5,60]},"blocked_cloud_providers":["AWS"],'
        '"bans":[{"net":"203.0.113.7/32","until":"2026-12-01T00:00:00Z"}],"unknown_field":1}'
    )
    assert rules.endpoint_rate_limits == {"/a": (5, 60)}
    assert rules.blocked_cloud_providers == {"AWS"}
    assert rules.bans[0].until == datetime(2026, 12, 1, tzinfo=UTC)
    with pytest.raises(ValidationError):
        DynamicRules(auto_ban_threshold=0)


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example/api/v1", "https://a.example"),
        ("https://a.example/api/v1/", "https://a.example"),
        ("http://[::1]:8000/base//", "http://[::1]:8000/base"),
    ],
)
def test_an_endpoint_is_stripped(given: str, endpoint: str) -> None:
    assert AgentConfig(api_key=KEY, endpoint=given).endpoint == endpoint


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "ftp://x"},
        {"endpoint": ""},
        {"endpoint": "x.example"},
        {"endpoint": "http://"},
        {"endpoint": "http://x:99999"},
        {"endpoint": "https://a", "backend_url": "https://b"},
        {"dynamic_rule_interval": 59},
        {"status_interval": 1},
        {"buffer_overflow_policy": "wait"},
        {"durability": "tape"},
        {"max_memory_bytes": 1},
        {"sample_rates": {"x": 1.5}},
        {"sample_rates": {"x": float("nan")}},
        {"max_batch_items": 0},
    ],
)
def test_settings_that_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AgentConfig(**{"api_key": KEY, **wrong})


def test_all_problems_are_listed_together() -> None:
    config = AgentConfig(
        api_key="short", buffer_size=0, flush_interval=0, timeout=0, backoff_factor=0, retry_attempts=-1
    )
    assert validate_config(config) == [
        "api_key must be at least 10 characters long",
        "buffer_size must be greater than 0",
        "flush_interval must be greater than 0",
        "timeout must be greater than 0",
        "backoff_factor must be greater than 0",
        "retry_attempts cannot be negative",
    ]
    assert validate_config(AgentConfig(api_key=KEY)) == []


def test_unknown_names_are_ignored_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        AgentConfig(api_key=KEY, flush_intervall=3, qqq=1)
    (record,) = caplog.records
    assert (
        record.getMessage() == "AgentConfig ignores 'flush_intervall' (did you mean 'flush_interval'?), 'qqq'"
    )


def test_settings_from_the_environment() -> None:
    config = AgentConfig.from_env(
        {
            "GUARD_AGENT_API_KEY": KEY,
            "GUARD_AGENT_ENDPOINT": "https://house.example",
            "GUARD_AGENT_TIMEOUT": "7",
            "GUARD_AGENT_ENABLED": "false",
            "GUARD_AGENT_SENSITIVE_HEADERS": "cookie, x-secret",
            "GUARD_AGENT_TAGS": '{"team":"red"}',
            "GUARD_AGENT_SAMPLE_RATES": '{"redis_error":0.5}',
            "GUARD_AGENT_STATE_DIR": "/var/lib/x",
            "GUARD_AGENT_AGGREGATE_METRICS": "false",
            "GUARD_AGENT_SERVICE": "shop",
            "GUARD_AGENT_ON_ERROR": "ignored",
            "OTHER": "x",
        },
        service="given",
    )
    assert (config.endpoint, config.timeout, config.enabled) == ("https://house.example", 7, False)
    assert (config.sensitive_headers, config.tags) == (["cookie", "x-secret"], {"team": "red"})
    assert (config.sample_rates, config.state_dir) == ({"redis_error": 0.5}, Path("/var/lib/x"))
    assert (config.aggregate_metrics, config.service, config.on_error) == (False, "given", None)


def test_what_is_missing_or_unreadable_in_the_environment_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"GUARD_AGENT_TAGS: .*GUARD_AGENT_API_KEY is not set; GUARD_AGENT_ENDPOINT"
    ):
        AgentConfig.from_env({"GUARD_AGENT_TAGS": "{"})
    assert AgentConfig.from_env({"GUARD_AGENT_API_KEY": KEY}, backend_url="https://a").endpoint == "https://a"


def test_the_known_types_are_the_released_ones_and_one_of_ours() -> None:
    assert len(EventType) == 40
    assert len(MetricType) == 7


def test_a_key_of_guardhouse_for_another_endpoint_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        AgentConfig(api_key="gh_live_0123456789")
    AgentConfig(api_key="gh_live_0123456789", endpoint="https://house.example")
    assert ["no endpoint is set" in record.getMessage() for record in caplog.records] == [True]
