# This module belongs to guardhouse-agent.
"""How an agent is set up: every setting with its default, read from arguments or from the environment."""

import json
import logging
import os
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_logger = logging.getLogger("guard_agent")
DEFAULT_ENDPOINT = "https://api.guard-core.com"
ENVIRONMENT_PREFIX = "GUARD_AGENT_"
_SHORTEST_KEY = 10
_MIB = 1 << 20
_warned: set[str] = set()

ErrorHook = Callable[[str, BaseException, dict[str, Any]], None]


class AgentConfig(BaseModel):
    """The settings of an agent. Times are in seconds, sizes in bytes, `max_payload_size` in characters.

    Up to `on_error` the released ones with the released defaults, below it those of this library. Unknown names are
    ignored; one warning names them and what they may have meant.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    api_key: str
    endpoint: str = DEFAULT_ENDPOINT
    project_id: str | None = None
    buffer_size: int = 100
    flush_interval: int = 30
    dynamic_rule_interval: int = Field(default=300, ge=60)
    status_interval: int = Field(default=300, ge=60)
    high_watermark_ratio: float = 0.8
    max_concurrent_flushes: int = 1
    buffer_overflow_policy: Literal["drop", "block", "raise"] = "drop"
    enable_metrics: bool = True
    enable_events: bool = True
    retry_attempts: int = 3
    timeout: int = 30
    backoff_factor: float = 1.0
    sensitive_headers: list[str] = Field(
        default_factory=lambda: ["authorization", "proxy-authorization", "cookie", "x-api-key"]
    )
    max_payload_size: int = 1024
    project_encryption_key: str | None = None
    guard_version: str | None = None
    guard_core_version: str | None = None
    compression_enabled: bool = True
    compression_threshold: int = 1024
    install_id: str | None = None
    payload_signing_secret: str | None = None
    on_error: Callable[[str, BaseException, dict[str, Any]], None] | None = None

    enabled: bool = True
    durability: Literal["auto", "disk", "redis", "memory", "strict"] = "auto"
    state_dir: Path | None = None
    max_memory_bytes: int = Field(default=24 * _MIB, ge=_MIB)
    spool_max_bytes: int = Field(default=128 * _MIB, ge=8 * _MIB)
    spool_max_age: int = Field(default=7 * 86400, ge=1)
    spool_fsync: Literal["always", "interval", "never"] = "interval"
    max_batch_items: int = Field(default=500, ge=1)
    max_batch_bytes: int = Field(default=204_800, ge=1024)
    urgent_linger: float = Field(default=0.025, ge=0)
    block_timeout: float = Field(default=0.05, ge=0)
    shutdown_timeout: float = Field(default=2.0, ge=0)
    install_signal_handlers: bool = True
    compression: Literal["auto", "gzip", "zstd", "none"] = "auto"
    http2: bool = False
    ca_file: Path | None = None
    trust_env: bool = True
    noise: Literal["auto", "keep", "aggregate"] = "auto"
    aggregate_metrics: bool | Literal["auto"] = "auto"
    sample_rates: dict[str, float] = Field(default_factory=dict)
    hash_ips: bool = False
    ip_hash_salt: str | None = None
    before_send: Callable[[Any], Any] | None = None
    on_rules: Callable[[Any], None] | None = None
    environment: str | None = None
    service: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def backend_url(self) -> str:
        """The endpoint, under its other name."""
        return self.endpoint

    @model_validator(mode="before")
    @classmethod
    def _take_other_names(cls, given: Any) -> Any:
        """Read `backend_url` as `endpoint` and say which names mean nothing."""
        if not isinstance(given, Mapping):
            return given
        values = dict(given)
        url = values.pop("backend_url", None)
        if url is not None:
            if "endpoint" in values and _bare(str(values["endpoint"])) != _bare(str(url)):
                raise ValueError("endpoint and backend_url are two names of one setting and differ")
            values.setdefault("endpoint", url)
        unknown = [name for name in values if name not in cls.model_fields]
        if unknown:
            _warn_once(f"AgentConfig ignores {', '.join(_with_suggestion(name, cls) for name in unknown)}")
        return values

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        """Return scheme, host and path without a slash or `/api/v1` at the end."""
        if not value.strip():
            raise ValueError("Endpoint URL cannot be empty")
        try:
            parts = urlsplit(value.strip())
            parts.port  # noqa: B018 - reading it is what checks it
        except ValueError as error:
            raise ValueError(f"Endpoint must be a valid URL with scheme and domain: {error}") from error
        if not parts.scheme or not parts.hostname:
            raise ValueError("Endpoint must be a valid URL with scheme and domain")
        if parts.scheme not in {"http", "https"}:
            raise ValueError("Endpoint URL must use http or https scheme")
        return _bare(value)

    @field_validator("sample_rates")
    @classmethod
    def _check_rates(cls, rates: dict[str, float]) -> dict[str, float]:
        """Refuse a share outside 0 to 1 (both allowed; NaN is outside)."""
        if wrong := [kind for kind, rate in rates.items() if not 0 <= rate <= 1]:
            raise ValueError(f"sample_rates are shares from 0 to 1; not so: {', '.join(wrong)}")
        return rates

    @model_validator(mode="after")
    def _warn_of_a_forgotten_endpoint(self) -> Self:
        """Say so where a key of Guardhouse would go to the default endpoint, which is no Guardhouse."""
        if self.api_key.startswith("gh_") and "endpoint" not in self.model_fields_set:
            _warn_once(
                f"The API key is one of Guardhouse and no endpoint is set: events go to {DEFAULT_ENDPOINT}"
            )
        return self

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Return the settings of the variables `GUARD_AGENT_<NAME>`, for example `GUARD_AGENT_API_KEY`.

        Lists and mappings are JSON (a list may be words with commas). `overrides` win over variables; hooks can only
        be given there.

        Raises:
            ValueError: no API key or endpoint is set, or a value is not readable; the message names every variable.
        """
        variables = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        wrong: list[str] = []
        for name, field in cls.model_fields.items():
            text = variables.get(ENVIRONMENT_PREFIX + name.upper())
            if text is None or name in overrides or name in {"on_error", "before_send", "on_rules"}:
                continue
            try:
                values[name] = _from_text(text, field.annotation)
            except ValueError as error:
                wrong.append(f"{ENVIRONMENT_PREFIX}{name.upper()}: {error}")
        values |= overrides
        wrong += [
            f"{ENVIRONMENT_PREFIX}{name.upper()} is not set"
            for name in ("api_key", "endpoint")
            if name not in values and not (name == "endpoint" and "backend_url" in values)
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return cls(**values)


def validate_config(config: AgentConfig) -> list[str]:
    """Return every problem of `config` in words; an empty list means it can be used."""
    problems = []
    if len(config.api_key.strip()) < _SHORTEST_KEY:
        problems.append(f"api_key must be at least {_SHORTEST_KEY} characters long")
    problems += [
        f"{name} must be greater than 0"
        for name in ("buffer_size", "flush_interval", "timeout", "backoff_factor")
        if not getattr(config, name) > 0
    ]
    if config.retry_attempts < 0:
        problems.append("retry_attempts cannot be negative")
    return problems


def _bare(url: str) -> str:
    bare = url.strip().rstrip("/")
    return bare.removesuffix("/api/v1").rstrip("/")


def _with_suggestion(name: str, config: type[AgentConfig]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - slow to load, and only a mistake needs it

    near = get_close_matches(name, config.model_fields, n=1)
    return f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name)


def _warn_once(sentence: str) -> None:
    if sentence not in _warned:
        _warned.add(sentence)
        _logger.warning("%s", sentence)


def _from_text(text: str, annotation: Any) -> Any:
    """Return the text of a variable as what pydantic can read for `annotation`."""
    origins = {typing.get_origin(part) or part for part in (annotation, *typing.get_args(annotation))}
    if not origins & {list, dict}:
        return text
    if list in origins and not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    return json.loads(text)
