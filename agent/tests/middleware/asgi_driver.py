"""Drives an ASGI application the way a server does: requests, lifespan, websocket handshakes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx


@asynccontextmanager
async def client_of(app: Any, peer: str = "203.0.113.7") -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client whose requests come from `peer`."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(peer, 40000))
    headers = {"user-agent": "probe/1"}
    async with httpx.AsyncClient(transport=transport, base_url="http://app", headers=headers) as client:
        yield client


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    """Start `app` by the lifespan protocol, and shut it down at the end.

    Raises:
        RuntimeError: the application says that its start failed.
        Exception: it raised instead of answering.
    """
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    task = asyncio.create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_app.get, from_app.put)
    )
    try:
        await to_app.put({"type": "lifespan.startup"})
        answering = asyncio.create_task(from_app.get())
        await asyncio.wait([task, answering], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            answering.cancel()
            await task  # raises what kept it from answering
        answer = await answering
        _refuse_failure(answer)
        yield
        await to_app.put({"type": "lifespan.shutdown"})
        assert (await asyncio.wait_for(from_app.get(), 10))["type"] == "lifespan.shutdown.complete"
    except BaseException:
        task.cancel()
        raise
    finally:
        await asyncio.gather(task, return_exceptions=True)


def _refuse_failure(answer: dict[str, Any]) -> None:
    if answer["type"] != "lifespan.startup.complete":
        raise RuntimeError(answer.get("message", ""))


async def connect(
    app: Any, path: str, query: str = "", *, extensions: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Return what `app` sends to a websocket that connects and leaves."""
    sent: list[dict[str, Any]] = []
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"user-agent", b"probe/1")],
        "client": ("203.0.113.7", 40000),
        "subprotocols": [],
        "extensions": {name: {} for name in extensions},
    }
    await app(scope, receive, send)
    return sent
