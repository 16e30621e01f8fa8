"""The agent's life within an application's, and reporting from anywhere in it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from guard_agent._web.request_guard import current_request
from guard_agent.client import default_agent, guard_agent
from guard_agent.config import AgentConfig

if TYPE_CHECKING:
    from guard_agent._web.guard import Guard

_logger = logging.getLogger("guard_agent")
_warned: list[str] = []
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def lifespan(app: Any = None, *, agent: Any = None, config: AgentConfig | None = None) -> Any:
    """Start the agent with an application and drain it at its end.

    `FastAPI(lifespan=lifespan)` takes the settings of the environment, `FastAPI(lifespan=lifespan(config=…))` others;
    `async with lifespan(app):` works within a lifespan of one's own.
    """
    return partial(lifespan, agent=agent, config=config) if app is None else _life(agent, config)


def _life(agent: Any, config: AgentConfig | None) -> AbstractAsyncContextManager[None]:
    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        mine = agent or guard_agent(config or AgentConfig.from_env())
        mine.start()
        try:
            yield
        finally:
            await mine.stop()

    return life()


def emit(
    event_type: str,
    *,
    reason: str = "",
    action: str = "",
    status_code: int | None = None,
    **metadata: Any,
) -> None:
    """Report an event from anywhere in the application.

    Within a request that a middleware of ours serves, its address, path, method and user agent are filled in. Outside
    of one, the default agent takes it; where there is none, nothing is reported and one warning says so.
    """
    request = current_request.get()
    if request is not None:
        request.emit(event_type, reason=reason, action=action, status_code=status_code, **metadata)
        return
    agent = default_agent()
    if agent is None:
        if not _warned:
            _warned.append(event_type)
            _logger.warning(
                "emit(%r) outside of a request, and no agent was made: nothing is reported", event_type
            )
        return
    agent.emit(event_type, reason=reason, action=action, status_code=status_code, **metadata)


async def run_lifespan(app: Any, scope: Any, receive: Receive, send: Send, guard: "Guard") -> None:
    """Pass the lifespan protocol through; the agent starts before the application and drains after it.

    An application that knows no lifespan (Django's) raises or returns without an answer; then the protocol is spoken
    here, so that the agent drains all the same. An agent that cannot start fails the start of the application.
    """
    told: set[str] = set()
    heard: set[str] = set()
    broken: list[Exception] = []

    async def listen() -> Message:
        message = await receive()
        heard.add(message["type"])
        if message["type"] == "lifespan.startup":
            try:
                guard.start()
            except Exception as error:
                broken.append(error)
                raise
        return message

    async def say(message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown"):
            await guard.stop()
        told.add(message["type"])
        await send(message)

    try:
        await app(scope, listen, say)
    except Exception:  # whatever an application raises that does not know this kind of scope
        if told or broken:
            raise
    if not told:
        await _speak_alone(heard, listen, say)


async def _speak_alone(heard: set[str], listen: Receive, say: Send) -> None:
    if "lifespan.startup" not in heard:
        await listen()
    await say({"type": "lifespan.startup.complete"})
    await listen()
    await say({"type": "lifespan.shutdown.complete"})
