# This module belongs to guardhouse-agent.
"""The agent as an application holds it: captures events and metrics, and tells how their delivery goes.

Capturing costs a look-up and an append in the caller's thread; everything else happens on the agent's own thread. No
method raises for what is captured, except `BufferFullError` under the policy `raise`.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import UTC, datetime
from typing import Any, Self

from guard_agent._pipeline import lifetime
from guard_agent._pipeline.append import append, class_of
from guard_agent._pipeline.awaitable import DONE, Answer, Captured, Later, running_loop
from guard_agent._pipeline.classes import CLASS_OF, EVENTS, METRIC, METRICS, NORMAL
from guard_agent._pipeline.describe import describe
from guard_agent._pipeline.engine import Engine
from guard_agent._pipeline.health import is_healthy
from guard_agent._pipeline.ledger import Ledger
from guard_agent._pipeline.worker import WorkerGoneError
from guard_agent.config import AgentConfig, validate_config
from guard_agent.models import AgentStatus, DynamicRules, SecurityEvent

_getpid = os.getpid
_agents: dict[tuple[type, str], "GuardAgentHandler"] = {}


class GuardAgentHandler:
    """One agent per name and process: made twice, it is the same object, set up anew.

    Methods called on a running loop return what can be awaited; without one they block and return plain values.

    Raises:
        ValueError: the settings cannot be used; the message names every problem.
    """

    config: AgentConfig

    def __new__(cls, config: AgentConfig, *, name: str = "default") -> Self:
        """Return the agent of this name where there is one, else a new one."""
        known = _agents.get((cls, name))
        if isinstance(known, cls):
            return known
        _refuse_problems(config)
        made = super().__new__(cls)
        _agents[(cls, name)] = made
        return made

    def __init__(self, config: AgentConfig, *, name: str = "default") -> None:
        if hasattr(self, "config"):
            if config is not self.config:
                self.update_config(config)
            return
        self.config = config
        self.name = name
        self._pid = _getpid()
        self._engine: Engine | None = None
        self._former: list[Engine] = []
        self._refused = Ledger()
        self._running = False
        self._closed = False
        self._lock = lifetime.fork_safe_lock()
        self._redis: tuple[Any, asyncio.AbstractEventLoop | None] | None = None
        self._clients: Callable[[], Any] | None = None
        self._fast = self._fast_metrics = False
        lifetime.watch(self)

    # ── capturing ───────────────────────────────────────────────────────────────────────────────
    def send_event(self, event: Any) -> Captured:
        """Capture a security event: a `SecurityEvent`, a dict, or any object with the same attributes.

        It belongs to the agent from now on and must not be changed.
        """
        if not self._fast or self._pid != _getpid():
            return self._capture_slowly(event, metric=False)
        try:
            queue = self._queue_of.get(event.event_type, self._normal)
        except Exception:  # noqa: BLE001 - an object of the application may raise anything
            queue = self._inbox.queues[class_of(event)]
        queue.append(event)
        if queue is self._attack or self._active.asleep or len(queue) >= self._mark:
            self._active.nudge()
        return DONE

    def send_metric(self, metric: Any) -> Captured:
        """Capture a metric: a `SecurityMetric`, a dict, or any object with the same attributes."""
        if not self._fast_metrics or self._pid != _getpid():
            return self._capture_slowly(metric, metric=True)
        queue = self._inbox.metric
        queue.append(metric)
        if self._active.asleep or len(queue) >= self._mark:
            self._active.nudge()
        return DONE

    def emit(  # noqa: PLR0913 - the fields of an event
        self,
        event_type: str,
        *,
        ip: str = "",
        action: str = "",
        reason: str = "",
        endpoint: str | None = None,
        method: str | None = None,
        user_agent: str | None = None,
        status_code: int | None = None,
        **metadata: Any,
    ) -> Captured:
        """Capture an event made of these fields; further names become its metadata."""
        try:
            event = SecurityEvent(
                timestamp=datetime.now(UTC),
                event_type=event_type,
                ip_address=ip,
                action_taken=action,
                reason=reason,
                endpoint=endpoint,
                method=method,
                user_agent=user_agent,
                status_code=status_code,
                metadata=metadata,
            )
        except (ValueError, TypeError):
            fields = {"event_type": event_type, "ip_address": ip, "action_taken": action, "reason": reason}
            return self.send_event({**fields, "metadata": metadata})
        return self.send_event(event)

    # ── life ────────────────────────────────────────────────────────────────────────────────────
    def start(self) -> Captured:
        """Begin to work; a second call does nothing.

        Raises:
            EncryptionConfigError: encryption is configured and cannot work.
        """
        self._closed = False
        if self.config.enabled:
            self._begin()
        return DONE

    def stop(self) -> Any:
        """Deliver what can be delivered within `shutdown_timeout` seconds and end; the rest stays in the spool."""
        return self._end(self.config.shutdown_timeout)

    def close(self, timeout: float | None = None) -> Any:
        """Stop within `timeout` seconds (None: `shutdown_timeout`); what is captured later is only counted."""
        return self._end(self.config.shutdown_timeout if timeout is None else timeout)

    def flush_buffer(self) -> Any:
        """Seal what was captured so far and wait until it was sent or could not be."""
        engine = self._engine
        if engine is None:
            return self._answer(None)
        return self._wait_for(engine.submit(engine.flush), self.config.timeout + 1.0, None)

    def initialize_redis(self, redis_handler: Any) -> Captured:
        """Take a Redis handler, for when there is no disk to keep batches on."""
        self._redis = (redis_handler, running_loop())
        if self._engine is not None:
            self._engine.take_redis(*self._redis)
        return DONE

    def update_config(self, config: AgentConfig) -> Any:
        """Go on with other settings; batches that are sealed keep their old destination.

        Raises:
            ValueError: the settings cannot be used; the old ones stay.
        """
        _refuse_problems(config)
        with self._lock:
            former, engine = self.config, self._engine
            self.config = config
            if engine is not None and self._running:
                if not config.enabled:
                    self._fast = self._fast_metrics = False
                elif _goes_elsewhere(former, config):
                    engine.retire()
                    self._former.append(engine)
                    self._engine = None
                    self._make()
                else:
                    engine.worker.call(lambda: engine.follow(config))
                    self._set_paths(engine)
        return self._answer(None)

    # ── asking ──────────────────────────────────────────────────────────────────────────────────
    def is_running(self) -> Any:
        """Tell whether the agent was started and not stopped."""
        return self._answer(self._running)

    def health_check(self) -> Any:
        """Tell whether the agent does its work: started, let in by the server, and with room."""
        engine = self._engine
        return self._answer(self._running and engine is not None and is_healthy(engine))

    def get_status(self) -> Any:
        """Return an `AgentStatus`: how the agent fares and why."""
        return self._answer(self._status())

    def get_dynamic_rules(self) -> Any:
        """Return the `DynamicRules` in force, None without any."""
        engine = self._engine
        if engine is None:
            return self._answer(None)
        future: Future[DynamicRules | None] = engine.submit(engine.rules.get)
        return self._wait_for(future, self.config.timeout + 1.0, engine.rules.current)

    @property
    def rules(self) -> DynamicRules | None:
        """The rules in force as they are known here, without asking anybody."""
        engine = self._engine
        return None if engine is None else engine.rules.current

    def get_stats(self) -> dict[str, Any]:
        """Return all figures of the agent under the names of the released interface, and our own."""
        return describe(self._engine, self.ledger(), running=self._running)

    def ledger(self) -> dict[str, Any]:
        """Return what became of every captured item, per lane, since this handler was made."""
        engines = [*self._former, *([self._engine] if self._engine is not None else [])]
        return Ledger.total([self._refused, *(engine.ledger for engine in engines)])

    def report_clients(self, counts: Callable[[], Any]) -> None:
        """Send with each status what `counts` returns: the busiest clients, as the middleware counts them."""
        self._clients = counts
        if self._engine is not None:
            self._engine.clients = counts

    # ── inside ──────────────────────────────────────────────────────────────────────────────────
    def _capture_slowly(self, item: Any, *, metric: bool) -> Captured:
        """Capture where something is to be decided first: not started, switched off, strict, bounded, forked."""
        lane = METRICS if metric else EVENTS
        if self._pid != _getpid():
            self.forked()
        if (
            not (self.config.enable_metrics if metric else self.config.enable_events)
            or not self.config.enabled
        ):
            self._refused.refuse(lane, "disabled")
            return DONE
        if self._closed:
            self._refused.refuse(lane, "disabled")
            lifetime.warn_once("The agent was stopped: what is captured now is only counted")
            return DONE
        try:
            engine = self._begin()
        except Exception as error:  # noqa: BLE001 - capturing never fails
            self._refused.refuse(lane, "disabled")
            lifetime.warn_once(f"The agent cannot start: {error}")
            return DONE
        kind = METRIC if metric else class_of(item)
        if engine.writes_at_once:
            engine.intake.write_now(kind, item, sync=False)
            engine.nudge()
            return DONE
        return append(engine, kind, item, on_loop=self._loop_runs())

    def _begin(self) -> Engine:
        with self._lock:
            if self._pid != _getpid():
                self.forked()
            engine = self._engine
            if self._running and engine is not None:
                return engine
            return self._make()

    def _make(self) -> Engine:
        if self._engine is not None:
            self._former.append(self._engine)
        engine = self._engine = Engine(self.config)
        engine.clients = self._clients
        engine.on_first_item = lambda: lifetime.heed_signals(self)
        if self._redis is not None:
            engine.take_redis(*self._redis)
        self._running = True
        engine.start()
        self._set_paths(engine)
        lifetime.heed_signals(self)
        return engine

    def _set_paths(self, engine: Engine) -> None:
        """Take the short way through `send_*` where nothing has to be decided per call."""
        inbox = engine.inbox
        self._active, self._inbox = engine, inbox
        self._attack, self._normal, self._mark = inbox.attack, inbox.queues[NORMAL], inbox.mark
        self._queue_of = {kind: inbox.queues[name] for kind, name in CLASS_OF.items()}
        short = self.config.buffer_overflow_policy == "drop" and not engine.writes_at_once
        self._fast = short and self.config.enable_events
        self._fast_metrics = short and self.config.enable_metrics

    def _end(self, timeout_seconds: float) -> Any:
        ends = self._ends(timeout_seconds)
        if not ends:
            return self._answer(None)
        return self._wait_for(lifetime.all_of(ends), timeout_seconds + 0.2, None)

    def _ends(self, timeout_seconds: float) -> "list[Future[None]]":
        with self._lock:
            self._fast = self._fast_metrics = False
            self._running, self._closed = False, True
            engines = [engine for engine in (*self._former, self._engine) if engine is not None]
        return [engine.end(timeout_seconds) for engine in engines if engine.worker.alive]

    def drain(self) -> None:
        """Have every item written in the caller's thread from now on, and what is queued written soon."""
        self._fast = self._fast_metrics = False
        if self._engine is not None and self._running:
            self._engine.drain()

    def finish(self) -> None:
        """Stop within `shutdown_timeout`, blocking: the process ends."""
        for future in self._ends(self.config.shutdown_timeout):
            with contextlib.suppress(FutureTimeoutError):
                future.result(self.config.shutdown_timeout + 0.2)

    def drained(self) -> bool:
        """Tell whether nothing is left that only memory holds."""
        engine = self._engine
        return engine is None or not self._running or engine.drained()

    def forked(self) -> None:
        """Begin anew in the child of a fork: empty queues, an instance of its own at the first call."""
        if self._pid == _getpid():
            return
        self._pid = _getpid()
        lifetime.leave_to_parent([*self._former, *([self._engine] if self._engine is not None else [])])
        self._engine, self._former, self._refused = None, [], Ledger()
        self._lock = lifetime.fork_safe_lock()
        self._fast = self._fast_metrics = False
        self._running = False

    def _status(self) -> AgentStatus:
        if self._engine is not None:
            return self._engine.status.status()
        return AgentStatus(
            timestamp=datetime.now(UTC),
            status="degraded",
            uptime=0.0,
            events_sent=0,
            events_failed=0,
            buffer_size=0,
            errors=["the agent was not started"],
        )

    def _loop_runs(self) -> bool:
        return running_loop() is not None

    def _answer(self, value: Any) -> Any:
        return Answer(value) if self._loop_runs() else value

    def _wait_for(self, future: "Future[Any]", timeout_seconds: float, otherwise: Any) -> Any:
        """Return the result of the worker's: to be awaited, or after waiting here; `otherwise` where none comes."""
        if self._loop_runs():
            return Later(future, otherwise)
        with contextlib.suppress(FutureTimeoutError, WorkerGoneError, asyncio.CancelledError):
            return future.result(timeout_seconds)
        return otherwise


class SyncGuardAgentHandler(GuardAgentHandler):
    """The same agent for code without a loop: every method blocks and returns plain values, on a loop too."""

    def _loop_runs(self) -> bool:
        return False


def guard_agent(config: AgentConfig, *, name: str = "default") -> GuardAgentHandler:
    """Return the agent of this name, set up with `config`: one object per name and process."""
    return GuardAgentHandler(config, name=name)


def default_agent() -> GuardAgentHandler | None:
    """Return the agent named `default` where this process has one."""
    return _agents.get((GuardAgentHandler, "default"))


def _refuse_problems(config: AgentConfig) -> None:
    problems = validate_config(config)
    if problems:
        raise ValueError(f"Invalid configuration: {'; '.join(problems)}")


def _goes_elsewhere(old: AgentConfig, new: AgentConfig) -> bool:
    names = (
        "endpoint",
        "project_id",
        "project_encryption_key",
        "durability",
        "state_dir",
        "enabled",
        "install_id",
    )
    return any(getattr(old, name) != getattr(new, name) for name in names)
