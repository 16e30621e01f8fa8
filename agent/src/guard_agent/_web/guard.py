"""What a middleware does with a request, whichever way it came: name the client, refuse, report.

Nothing in here may fail a request: an error of ours lets it pass and is counted.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from guard_agent._net.client_address import ClientAddress
from guard_agent._net.path_pattern import template_of
from guard_agent._web import options as kinds
from guard_agent._web.heavy_hitters import HeavyHitters
from guard_agent._web.options import Options
from guard_agent._web.request_guard import RequestGuard
from guard_agent._web.told_lately import Bursts, ToldLately
from guard_agent.client import guard_agent
from guard_agent.config import AgentConfig
from guard_agent.enforce import Enforcer, Refusal
from guard_agent.event_types import EventType
from guard_agent.models import DynamicRules
from guard_agent.utils import hash_ip

_logger = logging.getLogger("guard_agent")
UNMATCHED = "(unmatched)"
OTHER = "(other)"
_MOST_ROUTES = 200
_BURST, _BURST_SECONDS = 20, 60.0
_REFUSALS_TOLD_EVERY = 10.0
_ERRORS_LOGGED_EVERY = 20.0
T = TypeVar("T")

# Which answers of the application are events: type, and what of `capture` must be on.
_EVENTS_OF_STATUS: dict[int, tuple[EventType, str]] = {
    HTTPStatus.UNAUTHORIZED: (EventType.AUTHENTICATION_FAILED, kinds.AUTH),
    HTTPStatus.FORBIDDEN: (EventType.ACCESS_DENIED, kinds.AUTH),
    HTTPStatus.TOO_MANY_REQUESTS: (EventType.RATE_LIMITED, kinds.LIMITS),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (EventType.CONTENT_FILTERED, kinds.LIMITS),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (EventType.CONTENT_FILTERED, kinds.LIMITS),
}


class Guard:
    """The common half of both middlewares."""

    def __init__(self, options: Options) -> None:
        self.agent: Any = options.agent or guard_agent(options.config or AgentConfig.from_env())
        self.errors = 0
        self.refused = 0
        self._options = options
        self._capture: frozenset[str] | None = None
        self._exclude = tuple(entry.rstrip("/") for entry in options.exclude)
        self._addresses = ClientAddress(options.trusted_proxies)
        self._enforcer = Enforcer(options.geo) if options.enforce else None
        self._rules: DynamicRules | None = None
        self._clients = HeavyHitters() if options.count_clients else None
        self._told = ToldLately(_REFUSALS_TOLD_EVERY)
        self._logged = ToldLately(_ERRORS_LOGGED_EVERY)
        self._bursts = Bursts(_BURST, _BURST_SECONDS)
        self._routes: set[str] = set()
        self._started = False
        self._starting = threading.Lock()
        options.captured()  # an unknown name is said at once; whether fastapi-guard is here, at the first request
        if options.enforce and not hasattr(self.agent, "rules"):
            raise ValueError("enforce needs an agent of this library: the one given offers no rules")
        if self._clients is not None and hasattr(self.agent, "report_clients"):
            self.agent.report_clients(self.clients_report)

    def is_excluded(self, path: str) -> bool:
        """Tell whether a path is left alone altogether: the excluded ones and what lies below them."""
        return any(
            path.startswith(entry) and path[len(entry) : len(entry) + 1] in ("", "/")
            for entry in self._exclude
        )

    def start(self) -> None:
        """Start the agent, once.

        Raises:
            EncryptionConfigError: encryption is configured and cannot work.
        """
        if self._started:
            return
        with self._starting:
            if not self._started:
                self._started = True
                self.agent.start()

    async def stop(self) -> None:
        """Drain the agent and end it."""
        await self.agent.stop()

    def request(
        self, source: Any, peer: str, headers: Callable[[str], str | None], method: str, path: str
    ) -> RequestGuard:
        """Return the request of an ASGI scope or a WSGI environment; `headers` looks one up by its lower-case name."""
        if not self._started:
            self._attempt(self.start, None)
        if self._options.client_ip is None and self._addresses.trusts_nobody:
            address = peer
        else:
            address = self._attempt(lambda: self._address(source, peer, headers), peer)
        if self._clients is not None:
            self._clients.count(address, time.time())
        return RequestGuard(self.agent, address, method, path, headers("user-agent") or "")

    def refuse(self, request: RequestGuard, query: str) -> Refusal | None:
        """Return why the rules refuse a request, None to let it pass; report it where it is refused."""
        return None if self._enforcer is None else self._attempt(lambda: self._refuse(request, query), None)

    def answered(
        self,
        request: RequestGuard,
        source: Any,
        status: int,
        sent_bytes: int,
        seconds: float,
        route: str | None,
    ) -> None:
        """Report what the application answered; `route` is the template where the framework said it."""
        self._attempt(lambda: self._answered(request, source, status, sent_bytes, seconds, route), None)

    def failed(
        self, request: RequestGuard, source: Any, error: BaseException, seconds: float, route: str | None
    ) -> None:
        """Report an exception that the application did not handle: its type and its route, never its message."""
        self._attempt(lambda: self._failed(request, source, error, seconds, route), None)

    def clients_report(self) -> dict[str, Any] | None:
        """Return who asked most in the last minute with requests, for the status; addresses hashed if so configured."""
        report = None if self._clients is None else self._clients.report(time.time())
        config: AgentConfig = self.agent.config
        if report is None or not config.hash_ips:
            return report
        return report | {
            "top": [
                entry | {"address": hash_ip(entry["address"], config.ip_hash_salt or "")}
                for entry in report["top"]
            ]
        }

    def stats(self) -> dict[str, Any]:
        """Return `{errors, refused, not_applied}`: errors of ours, requests refused, rules that cannot be applied."""
        rule_set = self._enforcer.rule_set if self._enforcer is not None else None
        return {
            "errors": self.errors,
            "refused": self.refused,
            "not_applied": [] if rule_set is None else list(rule_set.not_applied),
        }

    def _address(self, source: Any, peer: str, headers: Callable[[str], str | None]) -> str:
        given = self._options.client_ip
        named = given(source) if given is not None else None
        return named or self._addresses.find(peer, headers("x-forwarded-for"), headers("forwarded"))

    def _captures(self, what: str) -> bool:
        if self._capture is None:
            self._capture = self._options.captured()
        return what in self._capture

    def _refuse(self, request: RequestGuard, query: str) -> Refusal | None:
        enforcer = self._enforcer
        if enforcer is None:
            return None
        rules = self.agent.rules
        if rules is not self._rules:
            self._adopt(enforcer, rules)
        now = time.time()
        refusal = enforcer.decide(request.address, request.path, query, request.user_agent, now)
        if refusal is None:
            return None
        self.refused += 1
        held = self._told.ask((request.address, refusal.code), now)
        if held is not None:
            more = {"held_back": held} if held else {}
            request.emit(
                refusal.event_type,
                reason="dynamic_rule",
                action="request_blocked",
                status_code=refusal.status,
                pattern=refusal.pattern,
                **refusal.metadata,
                **more,
            )
        return refusal

    def _adopt(self, enforcer: Enforcer, rules: DynamicRules | None) -> None:
        """Apply another document; the same one, fetched again, changes nothing and is not told again."""
        before, self._rules = self._rules, rules
        if before and rules and (before.rule_id, before.version) == (rules.rule_id, rules.version):
            return
        rule_set = enforcer.adopt(rules)
        if rules is not None and rule_set is not None:
            RequestGuard(self.agent, "", "", "", "").emit(
                EventType.DYNAMIC_RULE_APPLIED,
                action="rules_applied",
                rule_id=rules.rule_id,
                version=rules.version,
                not_applied=rule_set.not_applied,
            )

    def _answered(
        self,
        request: RequestGuard,
        source: Any,
        status: int,
        sent_bytes: int,
        seconds: float,
        route: str | None,
    ) -> None:
        event = _EVENTS_OF_STATUS.get(status)
        if event is not None and self._captures(event[1]):
            request.emit(event[0], status_code=status, action="answered")
        elif status == HTTPStatus.NOT_FOUND and self._captures(kinds.ERRORS):
            count = self._bursts.add(request.address, time.monotonic())
            if count is not None:
                request.emit(
                    EventType.SUSPICIOUS_REQUEST,
                    reason=f"{count} pages that do not exist in {_BURST_SECONDS:.0f} s",
                    status_code=status,
                    kind="not_found_burst",
                    count=count,
                )
        slow_ms = self._options.slow_ms
        if slow_ms is not None and seconds * 1000 > slow_ms and self._captures(kinds.ERRORS):
            request.emit(
                EventType.SUSPICIOUS_REQUEST,
                reason=f"took longer than {slow_ms:g} ms",
                status_code=status,
                kind="slow_request",
                milliseconds=round(seconds * 1000, 3),
            )
        if self._captures(kinds.METRICS):
            self._measure(request, self._route(request, source, status, route), status, sent_bytes, seconds)

    def _failed(
        self, request: RequestGuard, source: Any, error: BaseException, seconds: float, route: str | None
    ) -> None:
        named = self._route(request, source, HTTPStatus.INTERNAL_SERVER_ERROR, route)
        if self._captures(kinds.ERRORS):
            kind = type(error)
            request.emit(
                EventType.APP_ERROR,
                reason="unhandled exception",
                status_code=HTTPStatus.INTERNAL_SERVER_ERROR,
                exception=f"{kind.__module__}.{kind.__qualname__}",
                route=named,
            )
        if self._captures(kinds.METRICS):
            self._measure(request, named, HTTPStatus.INTERNAL_SERVER_ERROR, 0, seconds)

    def _measure(
        self, request: RequestGuard, route: str, status: int, sent_bytes: int, seconds: float
    ) -> None:
        """Hand the metrics over as plain objects: what they cost to check is spent on the agent's own thread."""
        send = self.agent.send_metric
        common = {
            "timestamp": datetime.now(UTC),
            "endpoint": route,
            "tags": {"method": request.method, "status": str(int(status))},
        }
        send({"metric_type": "request_count", "value": 1.0, **common})
        send({"metric_type": "response_time", "value": seconds, **common})
        if status >= HTTPStatus.BAD_REQUEST:
            send({"metric_type": "error_rate", "value": 1.0, **common})
        if sent_bytes:
            send({"metric_type": "bandwidth_usage", "value": float(sent_bytes), **common})

    def _route(self, request: RequestGuard, source: Any, status: int, route: str | None) -> str:
        """Return the name under which a request is measured: one of at most 200."""
        given = self._options.route_of
        name = (given(source) if given is not None else None) or route
        if name is None:
            name = UNMATCHED if status == HTTPStatus.NOT_FOUND else template_of(request.path, {})
        if name not in self._routes:
            if len(self._routes) >= _MOST_ROUTES:
                return OTHER
            self._routes.add(name)
        return name

    def _attempt(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            return work()
        except Exception as error:
            self.errors += 1
            if self._logged.ask(("error", type(error).__name__), time.monotonic()) is not None:
                _logger.exception("The guard failed and let a request pass (%d times by now)", self.errors)
            return otherwise
