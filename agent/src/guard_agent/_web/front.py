"""What both middlewares take, in one place."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from guard_agent._web.guard import Guard
from guard_agent._web.options import Options
from guard_agent.config import AgentConfig
from guard_agent.enforce import Geo


class MiddlewareFront:
    """The constructor of a middleware.

    Args:
        app: the application.
        agent: the agent to report to; without one the default agent of `config`.
        config: its settings; without them those of the environment (`AgentConfig.from_env`).
        enforce: whether requests that the current rules refuse are answered here.
        capture: what is reported: any of `auth` (401, 403), `limits` (413, 415, 429), `errors` (unhandled exceptions,
            bursts of missing pages, slow requests) and `metrics`. None: everything, or nothing where fastapi-guard
            watches this process already.
        trusted_proxies: networks whose `X-Forwarded-For` or `Forwarded` counts; `*` for every peer.
        exclude: paths that are left alone, with what lies below them.
        route_of: returns the route template of a scope (WSGI: of an environment), where the framework leaves none.
        client_ip: returns the address of the client of a scope or environment.
        count_clients: whether the busiest addresses of each minute are reported with the agent's status.
        slow_ms: requests that take longer are reported; None: none are.
        geo: returns country and cloud provider of an address; without it rules about these are not applied.

    Raises:
        ValueError: a setting that cannot be used.
    """

    def __init__(  # noqa: PLR0913 - all but the application are named and have defaults
        self,
        app: Any,
        *,
        agent: Any = None,
        config: AgentConfig | None = None,
        enforce: bool = False,
        capture: Collection[str] | None = None,
        trusted_proxies: Iterable[str] = (),
        exclude: Collection[str] = ("/health", "/metrics"),
        route_of: Callable[[Any], str | None] | None = None,
        client_ip: Callable[[Any], str | None] | None = None,
        count_clients: bool = True,
        slow_ms: float | None = None,
        geo: Geo | None = None,
    ) -> None:
        self.app = app
        self.guard = Guard(
            Options(
                agent=agent,
                config=config,
                enforce=enforce,
                capture=capture,
                trusted_proxies=trusted_proxies,
                exclude=exclude,
                route_of=route_of,
                client_ip=client_ip,
                count_clients=count_clients,
                slow_ms=slow_ms,
                geo=geo,
            )
        )
