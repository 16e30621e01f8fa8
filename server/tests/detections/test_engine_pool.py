import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from guardhouse.detections import engine_pool
from guardhouse.detections.engine_pool import EngineBusyError, EngineFailedError, EnginePool, TooLateError
from guardhouse.detections.judge_texts import verdicts
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.verdict import Ask, Verdict
from server.tests.detections.engines import children

WORDS = [
    "please",
    "ignore",
    "all",
    "previous",
    "instructions",
    "weather",
    "report",
    "<b>",
    "ünï",
    "忽略",
    "之前",
]
PATIENCE = 60.0


def asks(count: int, seed: int = 1) -> list[Ask]:
    draw = random.Random(seed)
    return [
        Ask(
            " ".join(draw.choices(WORDS, k=draw.randint(1, 200))),
            draw.choice(["user", "external"]),
            explain=n % 2 == 0,
        )
        for n in range(count)
    ]


@asynccontextmanager
async def pool(model: Path, processes: int) -> AsyncIterator[EnginePool]:
    opened = EnginePool(model, processes, model.parent)
    try:
        yield opened
    finally:
        await opened.close()


async def test_one_by_one_in_batches_and_in_processes_the_verdicts_are_the_same(model: Path) -> None:
    wanted = asks(120)
    engine = load_engine(model)
    alone: list[Verdict] = [verdicts(engine, [ask])[0] for ask in wanted]
    assert verdicts(engine, wanted) == alone
    for processes in (1, 2):
        async with pool(model, processes) as opened:
            got = await asyncio.gather(*(opened.judge([ask], PATIENCE) for ask in wanted))
            assert [one[0] for one in got] == alone
            assert await opened.judge(wanted, PATIENCE) == alone


async def test_a_killed_process_is_replaced_and_its_texts_are_judged(model: Path) -> None:
    async with pool(model, 1) as opened:
        await opened.judge(asks(1), PATIENCE)
        (child,) = children()
        waiting = [asyncio.create_task(opened.judge([ask], PATIENCE)) for ask in asks(200)]
        await asyncio.sleep(0)
        child.kill()
        assert len(await asyncio.gather(*waiting)) == 200
        assert [one.pid for one in children()] != [child.pid]


async def test_a_hung_process_is_replaced(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(model, 1) as opened:
        await opened.judge(asks(1), PATIENCE)
        monkeypatch.setattr(engine_pool, "PATIENCE_SECONDS", 0.3)
        (child,) = children()
        os.kill(child.pid, signal.SIGSTOP)
        (verdict,) = await opened.judge(asks(1), PATIENCE)
        assert verdict == verdicts(load_engine(model), asks(1))[0]


async def test_a_text_that_ends_two_processes_is_given_up_and_remembered(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text is known to end a process; a process that is always given too little time stands in for one."""
    async with pool(model, 1) as opened:
        await opened.judge(asks(1), PATIENCE)
        monkeypatch.setattr(engine_pool, "PATIENCE_SECONDS", -1.0)
        poison = Ask("a text that is never answered")
        with pytest.raises(EngineFailedError, match="two engine processes"):
            await opened.judge([poison], PATIENCE)
        monkeypatch.setattr(engine_pool, "PATIENCE_SECONDS", 30.0)
        with pytest.raises(EngineFailedError, match="before"):
            await opened.judge([poison], PATIENCE)
        assert len(await opened.judge(asks(3), PATIENCE)) == 3


async def test_more_than_may_wait_is_refused_at_once(model: Path) -> None:
    async with pool(model, 1) as opened:
        with pytest.raises(EngineBusyError):
            await opened.judge(asks(1) * (engine_pool.MOST_WAITING + 1), PATIENCE)
        with pytest.raises(EngineBusyError):
            await opened.judge([Ask("x" * (engine_pool.MOST_WAITING_CHARACTERS + 1))], PATIENCE)
        assert opened.waiting == 0


async def test_what_is_too_late_is_not_begun(model: Path) -> None:
    async with pool(model, 1) as opened:
        with pytest.raises(TooLateError):
            await opened.judge(asks(1), -1.0)


async def test_a_caller_that_hung_up_is_dropped_from_the_line(model: Path) -> None:
    opened = EnginePool(model, 1, model.parent)  # the process takes its time to start: everything waits
    gone = asyncio.create_task(opened.judge(asks(5), PATIENCE))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    try:
        assert len(await opened.judge(asks(1), PATIENCE)) == 1
        assert opened.waiting == 0
    finally:
        await opened.close()


async def test_long_texts_do_not_keep_short_ones_waiting(model: Path) -> None:
    opened = EnginePool(model, 1, model.parent)
    order: list[str] = []

    async def ask(name: str, text: str) -> None:
        await opened.judge([Ask(text)], PATIENCE)
        order.append(name)

    long = [asyncio.create_task(ask("long", "word " * 2000)) for _ in range(4)]
    short = [asyncio.create_task(ask("short", "word")) for _ in range(30)]
    await asyncio.sleep(0)
    try:
        await asyncio.gather(*long, *short)
    finally:
        await opened.close()
    assert order.index("short") <= 1
    assert order[-1] == "long"


async def test_a_model_that_cannot_be_read_fails_the_text_when_the_pool_closes(tmp_path: Path) -> None:
    opened = EnginePool(tmp_path / "none.ghm", 1, tmp_path)
    asked = asyncio.create_task(opened.judge(asks(1), PATIENCE))
    await asyncio.sleep(0.1)
    await opened.close()
    with pytest.raises(EngineFailedError, match="stopped"):
        await asked
    assert children() == []
