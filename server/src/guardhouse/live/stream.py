"""The response that streams: replay from the log, then live, the same bytes for everyone.

No transaction is open while bytes go out: each batch of the replay is read in a short one of its own.
"""

import asyncio
import contextlib
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.request import tenant_transaction
from guardhouse.live import encode
from guardhouse.live.client import Client
from guardhouse.live.hub import Hub
from guardhouse.notices import read
from guardhouse.notices.read import Mark, Notice, Position

_REPLAY_BATCH: Final = 500


class EventStream(Response):
    """An endless ``text/event-stream``. ``resume`` is where the client left off, ``reset`` that notices are gone."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, client: Client, resume: Mark | None = None, *, reset: bool = False) -> None:
        self._hub = hub
        self._client = client
        self._resume = resume
        self._reset = reset
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Stream until the client leaves, falls behind, or the process drains."""
        self._client.task = asyncio.current_task()
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        leaving = asyncio.create_task(_watch(receive, self._client))
        try:
            await self._stream(send)
        except DatabaseAway:
            await _write(send, encode.goodbye("unavailable", encode.RETRY_MILLISECONDS))
        except asyncio.CancelledError:
            if not self._client.ended:
                raise
            return  # the client left, or was cut off after being told
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, send: Send) -> None:
        mark = self._resume
        if mark is not None:
            await _write(send, encode.OPENING + encode.connected(self._client.id, mark.position))
            mark = await self._replay(send, mark)
        with self._hub.joined(self._client) as position:
            if mark is None:
                await _write(send, encode.OPENING + encode.connected(self._client.id, position))
            else:
                await self._close_up(send, mark, position)
            while not self._client.ended or self._client.has_more():
                await _write(send, await self._client.next())

    async def _replay(self, send: Send, mark: Mark) -> Mark:
        """Send what the log holds after the mark until nothing settled is left; return the mark reached."""
        full = True
        while full and not self._hub.resources.drain.is_set():
            notices, mark, full = await self._batch(mark)
            if self._reset and (notices or not full):
                oldest = notices[0].position if notices else mark.position
                await _write(send, encode.reset(oldest))
                self._reset = False
            await self._send(send, notices)
        return mark

    async def _close_up(self, send: Send, mark: Mark, position: Position) -> None:
        """Send what lies between the replay and the position from which the hub delivers."""
        full = True
        while full and mark.position < position:
            notices, mark, full = await self._batch(mark)
            await self._send(send, [notice for notice in notices if notice.position <= position])
        if mark.position > position:
            self._client.start_at(mark.position)

    async def _batch(self, mark: Mark) -> tuple[list[Notice], Mark, bool]:
        tenant = self._client.visitor.tenant
        async with tenant_transaction(self._hub.resources, tenant) as tx:
            found = await read.read_tenant_after(tx, tenant.id, mark, _REPLAY_BATCH)
        notices = list(found.notices)
        reached = Mark(notices[-1].position, notices[-1].occurred_at) if notices else mark
        return notices, reached, len(notices) == _REPLAY_BATCH

    async def _send(self, send: Send, notices: list[Notice]) -> None:
        wanted = [encode.notice_event(n) for n in notices if self._client.interest.covers(n)]
        if wanted:
            await _write(send, b"".join(wanted))


async def _write(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _watch(receive: Receive, client: Client) -> None:
    """End the client's task as soon as its connection is gone."""
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        client.leave()
