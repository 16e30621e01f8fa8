"""What an application is given to report in: settings ready to paste, for each of the ways in which they are set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_FIELDS: Final = {"api_key": "agent_api_key", "endpoint": "agent_endpoint", "project_id": "agent_project_id"}
PREFIX: Final = "GUARD_AGENT_"


@dataclass(frozen=True, slots=True)
class ReadyConfig:
    """One application's settings as Python for `SecurityConfig` and `AgentConfig`, and as lines of an env file."""

    security_config: str
    agent_config: str
    environment: str


def ready_config(endpoint: str, api_key: str, slug: str) -> ReadyConfig:
    """Return the settings of an application that reports to ``endpoint`` as the project ``slug``."""
    values = {"api_key": api_key, "endpoint": endpoint, "project_id": slug}
    of_guard = {_FIELDS[name]: _quoted(value) for name, value in values.items()}
    return ReadyConfig(
        security_config=_call(
            "SecurityConfig", {"enable_agent": "True", **of_guard, "enable_dynamic_rules": "True"}
        ),
        agent_config=_call("AgentConfig", {name: _quoted(value) for name, value in values.items()}),
        environment="".join(f"{PREFIX}{name.upper()}={value}\n" for name, value in values.items()),
    )


def _call(name: str, arguments: Mapping[str, str]) -> str:
    lines = "".join(f"    {argument}={value},\n" for argument, value in arguments.items())
    return f"{name}(\n{lines})\n"


def _quoted(value: str) -> str:
    return json.dumps(value)
