from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from guardhouse.settings import Settings


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://guard.example/", "https://guard.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_the_public_url_is_scheme_and_host(given: str, kept: str) -> None:
    assert Settings(public_url=given).public_url == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "guard.example",
        "ftp://h",
        "https://",
        "https://h/path",
        "https://h?q=1",
        "https://h#f",
        "https://u:p@h",
    ],
)
def test_anything_else_is_no_public_url(given: str) -> None:
    with pytest.raises(ValidationError):
        Settings(public_url=given)


def test_a_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("tiger\n")
    monkeypatch.setenv("GUARDHOUSE_MASTER_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("GUARDHOUSE_PUBLIC_URL_FILE", "/nothing")  # no secret: not read
    settings = Settings()
    assert settings.master_key == SecretStr("tiger")
    assert "tiger" not in repr(settings)
    monkeypatch.setenv("GUARDHOUSE_MASTER_KEY", "lion")
    assert Settings().master_key == SecretStr("lion")


@pytest.mark.parametrize("origins", ["*", "null", "https://a.example,*"])
def test_origins_are_exact(origins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDHOUSE_CORS_ORIGINS", origins)
    with pytest.raises(ValidationError, match="exact origins"):
        Settings()


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDHOUSE_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert Settings().cors_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("EGRESS_ALLOW", "10.0.0.0/8", "network:port"),
        ("EGRESS_ALLOW", "10.0.0.0/8:0", "network:port"),
        ("EGRESS_ALLOW", "10.0.0.0/8:65536", "network:port"),
        ("EGRESS_ALLOW", "10.0.0.1/8:443", "not a network"),
        ("EGRESS_ALLOW", "receiver:443", "not a network"),
        ("EGRESS_ALLOW", "127.0.0.1:*, :443", "nothing is not a network"),
        ("EGRESS_PORTS", "443,0", "greater than or equal to 1"),
        ("EGRESS_PORTS", "443,https", "valid integer"),
        ("EGRESS_PROXY", "proxy:3128", "http://host:port"),
        ("EGRESS_PROXY", "https://proxy", "http://host:port"),
        ("SMTP_URL", "mail.example", "smtp://host"),
        ("SMTP_URL", "http://mail.example", "smtp://host"),
        ("SMTP_URL", "smtp://mail.example:port", "smtp://host"),
    ],
)
def test_a_way_out_that_cannot_be_read_stops_the_start(
    name: str, given: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GUARDHOUSE_{name}", given)
    with pytest.raises(ValidationError, match=sentence):
        Settings()


def test_ways_out_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDHOUSE_EGRESS_ALLOW", "127.0.0.1/32:*, fd00::/8:443")
    monkeypatch.setenv("GUARDHOUSE_EGRESS_PORTS", "443, 9443")
    settings = Settings()
    assert settings.egress_allow == ["127.0.0.1/32:*", "fd00::/8:443"]
    assert settings.egress_ports == [443, 9443]


def test_remote_engines_are_a_json_object_that_may_stand_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engines"
    path.write_text('{"go": {"url": "http://engine:8080/", "auth_header": "X-Token: s3cret"}}\n')
    monkeypatch.setenv("GUARDHOUSE_DETECT_REMOTES_FILE", str(path))
    engine = Settings().detect_remotes["go"]
    assert (engine.url, engine.port, engine.timeout_ms, engine.max_in_flight) == (
        "http://engine:8080",
        8080,
        2_000,
        64,
    )
    assert engine.auth_header is not None
    assert engine.auth_header.get_secret_value() == "X-Token: s3cret"


@pytest.mark.parametrize(
    "given",
    [
        "go",
        "[]",
        '{"go": "http://engine"}',
        '{"embedded": {"url": "http://engine"}}',
        '{"Go": {"url": "http://engine"}}',
        '{"go": {"url": "engine:8080"}}',
        '{"go": {"url": "ftp://engine"}}',
        '{"go": {"url": "http://me:s3cret@engine"}}',
        '{"go": {"url": "http://engine?a=s3cret"}}',
        '{"go": {"url": "http://engine", "auth_header": "s3cret"}}',
        '{"go": {"url": "http://engine", "auth_header": "A: s3cret\\r\\nB: b"}}',
        '{"go": {"url": "http://engine", "timeout_ms": 99}}',
        '{"go": {"url": "http://engine", "confidence_means": "sure"}}',
        '{"go": {"url": "http://engine", "retries": 3}}',
    ],
)
def test_remote_engines_that_cannot_be_read_stop_the_start(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDHOUSE_DETECT_REMOTES", given)
    with pytest.raises(ValidationError):
        Settings()
