"""Copies of sealed batches in the application's Redis, for when there is no disk: one key per batch.

The handler belongs to the application's loop, so its calls run there, a second each at most, and never within a
`send_*` call. A lease tells which instance owns its keys; who can take the lease of another is its heir.
"""

import asyncio
import base64
import json
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.classes import EVENTS, METRICS
from guard_agent._pipeline.report_error import ErrorReporter

T = TypeVar("T")
NAMESPACES: Final = {EVENTS: "agent_events", METRICS: "agent_metrics"}
_LIFE_SECONDS: Final = 86_400
_PATIENCE_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 90
_RENEW_SECONDS: Final = 20.0


class RedisStore:
    """Writes, deletes and inherits batches in Redis. Used on the worker's loop."""

    def __init__(
        self, handler: Any, loop: asyncio.AbstractEventLoop, account: Account, errors: ErrorReporter
    ) -> None:
        self.failures = 0
        self.works = True
        self._handler = handler
        self._loop = loop
        self._account = account
        self._errors = errors
        self._tasks: set[asyncio.Task[None]] = set()
        self._accounts: dict[str, Account] = {account.instance: account}
        self._renew_at = 0.0

    def offer(self, batch: Batch) -> None:
        """Begin to write a batch that only memory holds."""
        self._begin(self._write(batch))

    def forget(self, batch: Batch) -> None:
        """Begin to delete a batch; a copy that stays is sent again by an heir, and known by its keys there."""
        self._begin(self._delete(batch))

    async def settle(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def adopt(self) -> list[Batch]:
        """Renew the leases held, take those of dead instances, and return the batches that came with them."""
        if time.monotonic() < self._renew_at:
            return []
        self._renew_at = time.monotonic() + _RENEW_SECONDS
        found: list[Batch] = []
        try:
            for instance in self._accounts:
                await self._call(
                    self._handler.set_key(NAMESPACES[EVENTS], f"lease_{instance}", "1", _LEASE_SECONDS)
                )
            for namespace in NAMESPACES.values():
                found += await self._inherit(namespace)
        except Exception as error:  # noqa: BLE001 - the application's handler may raise anything
            self._fail(error)
        return found

    async def _inherit(self, namespace: str) -> list[Batch]:
        found = []
        for name in await self._call(self._handler.keys(f"{namespace}:batch_*")) or []:
            text = name.decode() if isinstance(name, bytes) else str(name)
            prefix, _, key = text.rpartition(f"{namespace}:")
            instance = key.removeprefix("batch_").partition("_")[0]
            if instance == self._account.instance:
                continue
            if instance not in self._accounts and not await self._call(self._take_lease(prefix, instance)):
                continue
            account = self._accounts.setdefault(instance, Account(instance))
            batch = _read(await self._call(self._handler.get_key(namespace, key)), account)
            if batch is not None and batch.id not in account.known:
                account.known.add(batch.id)
                account.ledger.keep(batch.lane, "redis", batch.count)
                found.append(batch)
        return found

    async def _take_lease(self, prefix: str, instance: str) -> bool:
        name = f"{prefix}{NAMESPACES[EVENTS]}:lease_{instance}"
        async with self._handler.get_connection() as connection:
            return bool(await connection.set(name, self._account.instance, nx=True, ex=_LEASE_SECONDS))

    async def _write(self, batch: Batch) -> None:
        body = batch.body
        if body is None:
            return
        value = json.dumps(
            {"head": batch.head(), "body": base64.b64encode(body).decode("ascii")},
            separators=(",", ":"),
        )
        await self._call(self._handler.set_key(NAMESPACES[batch.lane], _key(batch), value, _LIFE_SECONDS))
        self.works = batch.remote = True
        if _is_delivered(batch):
            await self._delete(batch)
        elif batch.place == "memory":
            batch.account.ledger.move(batch.lane, "memory", "redis", batch.count)
            batch.place = "redis"

    async def _delete(self, batch: Batch) -> None:
        await self._call(self._handler.delete(NAMESPACES[batch.lane], _key(batch)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the application's handler may raise anything
            self._fail(error)

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call of the handler on the application's loop."""
        if self._loop.is_closed():
            work.close()
            raise ConnectionError("the application's loop is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await asyncio.wrap_future(future)

    def _fail(self, error: BaseException) -> None:
        self.works = False
        self.failures += 1
        self._errors.log("The agent's copies in Redis fail: memory alone keeps what has no disk")
        self._errors.tell("redis", error)


def _key(batch: Batch) -> str:
    return f"batch_{batch.account.instance}_{batch.id}"


def _is_delivered(batch: Batch) -> bool:
    """Tell whether its keeper let go of a batch, as it may have while a call was under way."""
    return batch.body is None


def _read(value: Any, account: Account) -> Batch | None:
    """Return the batch of a value, None for what is none."""
    try:
        known = json.loads(value) if isinstance(value, (str, bytes)) else dict(value)
        body = base64.b64decode(known["body"], validate=True)
        return Batch(
            **known["head"],
            account=account,
            body=body,
            size=len(body),
            place="redis",
            remote=True,
            born=time.monotonic(),
        )
    except (ValueError, TypeError, KeyError):
        return None
