"""Every setting of the server, typed and read once from the environment (``GUARDHOUSE_*``).

A secret may stand in a file named by the same variable with ``_FILE`` appended. Nothing else in the
product reads the environment.
"""

import json
import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "GUARDHOUSE_"


def default_data_dir() -> Path:
    """Return the folder for local state: ``$XDG_DATA_HOME/guardhouse`` or ``~/.local/share/guardhouse``."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "guardhouse"


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _no_wildcard(origins: list[str]) -> list[str]:
    if "*" in origins or "null" in origins:
        raise ValueError("name exact origins; '*' and 'null' would let any page call the API")
    return origins


def parse_allowed_network(text: str) -> tuple[IPv4Network | IPv6Network, int | None]:
    """Read ``network:port`` of ``GUARDHOUSE_EGRESS_ALLOW``: CIDR or address, then a port or ``*`` (None).

    Raises:
        ValueError: it is not of that form.
    """
    network, _, port = text.rpartition(":")
    if port != "*" and not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ValueError(f"{text}: write network:port such as 10.0.0.0/8:443, or * for any port")
    try:
        return ip_network(network), None if port == "*" else int(port)
    except ValueError:
        raise ValueError(f"{text}: {network or 'nothing'} is not a network such as 10.0.0.0/8") from None


def _readable_networks(pairs: list[str]) -> list[str]:
    for pair in pairs:
        parse_allowed_network(pair)
    return pairs


class RemoteEngine(BaseModel):
    """A detection engine elsewhere that speaks the contract of the Go engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(max_length=2_000)]
    auth_header: SecretStr | None = None
    timeout_ms: Annotated[int, Field(ge=100, le=30_000)] = 2_000
    confidence_means: Literal["attack", "verdict"] = "attack"
    max_in_flight: Annotated[int, Field(ge=1, le=1_000)] = 64

    @field_validator("url")
    @classmethod
    def _url_has_a_host(cls, value: str) -> str:
        parts = urlsplit(value)
        if not _has_host(value, {"http", "https"}) or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("must be http:// or https:// and a host, without user, query or fragment")
        return value.rstrip("/")

    @field_validator("auth_header")
    @classmethod
    def _auth_header_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _HEADER.fullmatch(value.get_secret_value()):
            raise ValueError("must be one header such as `Authorization: Bearer …`, in ASCII")
        return value

    @property
    def port(self) -> int:
        """The port that it is reached at."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)


def _is_not_ours(name: str) -> str:
    if name == "embedded":
        raise ValueError("embedded is the name of the engine that ships with the platform")
    return name


EngineName = Annotated[str, Field(pattern=r"\A[a-z0-9][a-z0-9_-]{0,31}\z"), AfterValidator(_is_not_ours)]
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+:[ \t]*[\x21-\x7e]+([ \t]+[\x21-\x7e]+)*")


def _read_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        # the text may hold a secret, so nothing of it is repeated
        raise ValueError('must be a JSON object such as {"go": {"url": "http://engine:8080"}}') from None


class Settings(BaseSettings):
    """All settings; field ``x`` is read from ``GUARDHOUSE_X``. Unknown names are named by ``doctor``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_dir: Path = Field(default_factory=default_data_dir, description="Folder for local state.")
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL (15 or later) of one's own; absent: `up` starts its own."
    )
    database_owner_url: SecretStr | None = Field(
        default=None, description="Login that migrates, when it differs from the one that serves."
    )
    single_role: bool = Field(
        default=False,
        description="The database login may not create roles: row-level security is off, one wall stays.",
    )
    database_pool_size: int = Field(default=10, ge=1, le=200, description="Connections per process.")
    objects_url: str | None = Field(
        default=None, description="Object store, a file: URL; absent = `objects` in the data folder."
    )
    public_url: str = Field(
        default="http://127.0.0.1:8000",
        description="The URL clients see: absolute links and signed authorities come from it alone.",
    )
    cors_origins: Annotated[list[str], NoDecode, AfterValidator(_no_wildcard)] = Field(
        default=[], description="Exact origins of pages that may call the API."
    )
    master_key: SecretStr | None = Field(
        default=None,
        description="32 bytes, base64url, that seal stored secrets; a previous one may follow after a comma.",
    )
    key_peppers: SecretStr | None = Field(
        default=None, description="`id:base64url` pairs, comma-separated; the first makes new key digests."
    )
    legacy_agent_signatures: bool = Field(
        default=False, description="New host agents may sign with the legacy headers."
    )
    events_retention_days: int = Field(
        default=30, ge=1, le=3650, description="Days that telemetry events are kept."
    )
    segments_retention_days: int = Field(
        default=30, ge=8, le=3650, description="Days that the events of streams are kept."
    )
    ingest_backlog_events: int = Field(
        default=5_000_000, ge=1000, description="Unscored events at which intake answers 503."
    )
    telemetry_soft_per_second: int = Field(
        default=5_000,
        ge=1,
        description="Telemetry items a second (over 10 s) of one project, beyond which noise is rolled up harder.",
    )
    telemetry_hard_per_second: int = Field(
        default=50_000,
        ge=1,
        description="Telemetry items a second (over 10 s) of one project and path, beyond which the answer is 429.",
    )
    telemetry_requests_per_minute: int = Field(
        default=1_200,
        ge=1,
        description="Telemetry requests a minute of one project and path, beyond which the answer is 429.",
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="Bearer that opens /metrics to peers beyond loopback."
    )
    worker_metrics_port: int = Field(
        default=9465, ge=0, le=65535, description="Port of the worker's health and metrics; 0 = none."
    )
    worker_lanes: int = Field(default=64, ge=1, le=64, description="Scoring lanes one worker may hold.")
    stream_clients: int = Field(default=4000, ge=1, description="SSE clients per process.")
    rule_waiters: int = Field(
        default=2000, ge=0, description="Agents per process that may wait for new rules."
    )
    trusted_proxies: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default=[], description="Networks (CIDR) whose X-Forwarded-For counts."
    )
    compat_headers: bool = Field(default=True, description="Send the X-RateLimit-* headers too.")
    registration: Literal["closed", "invite", "open"] = Field(
        default="closed",
        description="Who may register a key for itself: nobody, whoever has a code, anybody.",
    )
    self_top_up: bool = Field(
        default=False,
        description="Tenants may credit their own balance; `guardhouse up` turns it on for the house on this machine.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis that shares rate limits between processes; absent: each keeps its share.",
    )
    rate_limit_fallback: Literal["share", "open", "closed"] = Field(
        default="share",
        description="While Redis is away: each process keeps its share of the limits, admits all, or answers 503.",
    )
    detect_processes: int = Field(
        default=max(1, (os.cpu_count() or 2) - 1),
        ge=1,
        le=64,
        description="Processes that judge prompts; they start with the first one. One core each.",
    )
    detect_remotes: Annotated[dict[EngineName, RemoteEngine], NoDecode, BeforeValidator(_read_json)] = Field(
        default={},
        description="Detection engines elsewhere, a JSON object of name → `url`, `auth_header`, `timeout_ms`, "
        "`confidence_means` (`attack`, `verdict`), `max_in_flight`.",
    )
    anonymous_per_minute: int = Field(
        default=60, ge=0, description="Calls a minute of one address without a credential; 0 = no limit."
    )
    egress_allow: Annotated[list[str], NoDecode, AfterValidator(_readable_networks)] = Field(
        default=[],
        description="`network:port` pairs (CIDR, `*` = any port) in the house that deliveries may reach.",
    )
    egress_ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], NoDecode] = Field(
        default=[443, 8443], description="Ports that deliveries may reach."
    )
    egress_proxy: str | None = Field(
        default=None, description="http:// URL of a filtering proxy that every outgoing request takes."
    )
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp:// (STARTTLS) or smtps:// URL of the mail server, with login."
    )
    mail_from: str = Field(default="guardhouse@localhost", description="Sender of mails.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else one JSON line per event."
    )

    @field_validator("cors_origins", "trusted_proxies", "egress_allow", "egress_ports", mode="before")
    @classmethod
    def _lists_are_comma_separated(cls, value: object) -> object:
        return _split_commas(value)

    @field_validator("public_url")
    @classmethod
    def _public_url_has_no_path(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be http:// or https:// and a host")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("must have no path: the API is at the root of its host")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("egress_proxy")
    @classmethod
    def _proxy_is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not _has_host(value, {"http"}):
            raise ValueError("must be http://host:port of a proxy")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server_is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _has_host(value.get_secret_value(), {"smtp", "smtps"}):
            raise ValueError("must be smtp://host or smtps://host, with user:password@ before the host")
        return value

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, field in cls.model_fields.items():
            path = os.environ.get(f"{PREFIX}{name.upper()}_FILE")
            if path and name not in values and holds_secrets(field.annotation):
                values[name] = Path(path).read_text(encoding="utf-8").strip()
        return values


def holds_secrets(annotation: object) -> bool:
    """Tell whether a setting of this type is or holds a secret, so that it may stand in a file."""
    return bool({SecretStr, RemoteEngine} & {annotation, *getattr(annotation, "__args__", ())})


def _has_host(url: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
