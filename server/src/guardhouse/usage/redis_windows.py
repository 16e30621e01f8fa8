"""Windows that all processes share, on Redis: the whole decision over every policy of a call is one script there.

The clock is Redis's own, so processes on machines with different clocks agree. Calls that wait together travel in
one pipeline over one connection.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from guardhouse.usage.policy import Policy, Reading, Verdict

PATIENCE_SECONDS: Final = 0.002
CONNECT_SECONDS: Final = 1.0
PREFIX: Final = "guardhouse:rate:"
FAULTS: Final = (RedisError, OSError, TimeoutError)

# One hash per window: `h` and `t` are the first and last cell, `n` the total, each number a cell (first hit, newest
# hit, cost). The same rules as foundation.rate_window; a test drives both with the same calls.
SCRIPT: Final = """
local clock = redis.call('TIME')
local cost, forced = tonumber(ARGV[1]), ARGV[2] == '1'
local windows, refused, answer = {}, false, {}
for i, key in ipairs(KEYS) do
  local limit, span, grain = tonumber(ARGV[i * 3]), tonumber(ARGV[i * 3 + 1]), tonumber(ARGV[i * 3 + 2])
  local now = clock[1] * 1000000 + clock[2]
  local head = redis.call('HMGET', key, 'h', 't', 'n')
  local h, t, n = tonumber(head[1]) or 1, tonumber(head[2]) or 0, tonumber(head[3]) or 0
  local function cell(number)
    return struct.unpack('>ddd', redis.call('HGET', key, number))
  end
  if t >= h then
    local _, newest = cell(t)
    if newest > now then now = newest end
  end
  while h <= t do
    local _, newest, freed = cell(h)
    if newest + span > now then break end
    n = n - freed
    redis.call('HDEL', key, h)
    h = h + 1
  end
  local excess, wait = n + cost - limit, 0
  if excess > 0 then
    wait = -1
    for number = h, t do
      local _, newest, freed = cell(number)
      excess = excess - freed
      if excess <= 0 then
        wait = newest + span - now
        break
      end
    end
    refused = true
  end
  windows[i] = {key, limit, span, grain, now, h, t, n, wait, cell}
end
for i, window in ipairs(windows) do
  local key, limit, span, grain, now, h, t, n, wait, cell = unpack(window)
  if cost > 0 and (forced or not refused) then
    local first, newest, sum
    if t >= h then first, newest, sum = cell(t) end
    if first == nil or now - first >= grain then
      t, first, sum = t + 1, now, 0
    end
    redis.call('HSET', key, t, struct.pack('>ddd', first, now, sum + cost))
    n = n + cost
  end
  if t >= h then
    redis.call('HSET', key, 'h', h, 't', t, 'n', n)
    redis.call('PEXPIRE', key, math.ceil(span / 1000) + 1000)
    local _, newest = cell(h)
    answer[#answer + 1] = math.max(0, limit - n)
    answer[#answer + 1] = newest + span - now
  else
    redis.call('DEL', key)
    answer[#answer + 1] = limit
    answer[#answer + 1] = 0
  end
  answer[#answer + 1] = wait
end
return answer
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    policies: Sequence[Policy]
    cost: int
    forced: bool
    answer: "asyncio.Future[Sequence[int]]"


@dataclass(slots=True)
class RedisWindows:
    """The shared windows. Nothing is retried: who asks decides what to do when Redis is away."""

    url: str = field(repr=False)
    _redis: "Redis | None" = None
    _digest: str = ""
    _waiting: list[_Asked] = field(default_factory=list)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _sender: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Connect anew and load the script.

        Raises:
            RedisError, OSError, TimeoutError: Redis cannot be used.
        """
        await self.disconnect()
        redis = Redis.from_url(
            self.url,
            max_connections=2,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            retry=None,
            client_name="guardhouse",
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._digest = str(await redis.script_load(SCRIPT))
        except BaseException:
            await _close(redis)
            raise
        self._redis = redis
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="rate windows")

    async def disconnect(self) -> None:
        """Drop the connection; what waits is told."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await _close(redis)

    async def close(self) -> None:
        """End for good."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        await self.disconnect()

    async def take(self, policies: Sequence[Policy], cost: int = 1, *, forced: bool = False) -> Verdict:
        """Admit a call if every policy lets it in; ``forced`` counts it whatever they say.

        Raises:
            RedisError, OSError, TimeoutError: Redis is away, or did not answer within 2 ms.
        """
        if self._redis is None:
            raise ConnectionError("there is no connection to Redis")
        asked = _Asked(policies, cost, forced, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._woken.set()
        numbers = await asked.answer
        readings = [Reading(*map(int, numbers[at : at + 3])) for at in range(0, len(numbers), 3)]
        return Verdict(policies, readings)

    async def _send(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            batch, self._waiting = self._waiting, []
            try:
                answers = await self._patiently(self._ask(batch))
            except FAULTS as error:
                for asked in batch:
                    _settle(asked.answer, error)
                continue
            for asked, answer in zip(batch, answers, strict=True):
                _settle(asked.answer, answer)

    async def _ask(self, batch: Sequence[_Asked]) -> list[Any]:
        if self._redis is None:
            raise ConnectionError("there is no connection to Redis")
        async with self._redis.pipeline(transaction=False) as pipeline:
            for asked in batch:
                names = [f"{PREFIX}{{{p.group}}}:{p.place}" for p in asked.policies]
                numbers: list[int] = []
                for policy in asked.policies:
                    numbers += (policy.limit, policy.span, policy.grain)
                pipeline.evalsha(
                    self._digest,
                    len(names),
                    *names,
                    str(asked.cost),
                    str(int(asked.forced)),
                    *map(str, numbers),
                )
            return await pipeline.execute(raise_on_error=False)

    async def _patiently(self, work: Awaitable[list[Any]]) -> list[Any]:
        """Wait 2 ms for Redis: when this process itself was late, the answer may lie unread, and it waits once more."""
        asking = asyncio.ensure_future(work)
        for _ in range(2):
            began = time.monotonic()
            done, _pending = await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)
            if done:
                return await asking
            if time.monotonic() - began < PATIENCE_SECONDS * 2:
                break
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, *FAULTS):
            await asking
        raise TimeoutError("Redis did not answer within 2 ms")


def _settle(answer: "asyncio.Future[Sequence[int]]", outcome: Any) -> None:
    if answer.done():  # who asked has gone
        return
    if isinstance(outcome, NoScriptError):
        outcome = ConnectionError("Redis was restarted and has forgotten the script")
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


async def _close(redis: "Redis") -> None:
    with contextlib.suppress(*FAULTS):
        await redis.aclose()
