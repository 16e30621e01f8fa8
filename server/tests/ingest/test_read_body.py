"""The reading of bodies: codings, lying headers, limits, bombs, slowness, memory in flight."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator

import pytest
import zstandard
from starlette.requests import Request
from starlette.types import Message

from guardhouse.foundation.errors import (
    BodyTooLarge,
    Problem,
    RequestTimeout,
    Unavailable,
    UnsupportedCoding,
)
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.read_body import Budget, CompressionBomb, Limits, RawBody, read_body

BODY = b'{"events":[' + b",".join(b'{"event_type":"x%d"}' % n for n in range(500)) + b"]}"


def request_of(chunks: Iterable[bytes], headers: dict[str, str], pause: float = 0.0) -> Request:
    waiting: Iterator[bytes] = iter(chunks)

    async def receive() -> Message:
        await asyncio.sleep(pause)
        chunk = next(waiting, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }
    return Request(scope, receive)


async def read(
    *chunks: bytes, coding: str | None = None, limits: Limits | None = None, length: int | None = None
) -> RawBody:
    headers = {} if coding is None else {"content-encoding": coding}
    if length is not None:
        headers["content-length"] = str(length)
    async with read_body(request_of(chunks, headers), limits or Limits(budget=Budget())) as body:
        return body


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


CODED = {
    "identity": BODY,
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY, 1),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(BODY),
}


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_each_coding_in_chunks_of_any_size(coding: str, size: int) -> None:
    body = await read(*pieces(CODED[coding], size), coding=coding)
    assert body.content == BODY
    assert body.wire == CODED[coding]
    assert body.coding == coding.removeprefix("x-")


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
async def test_several_members_and_frames_are_one_body(size: int) -> None:
    members = gzip.compress(BODY[:100]) + gzip.compress(b"") + gzip.compress(BODY[100:])
    compress = zstandard.ZstdCompressor().compress
    frames = compress(BODY[:100]) + compress(BODY[100:])
    assert (await read(*pieces(members, size), coding="gzip")).content == BODY
    assert (await read(*pieces(frames, size), coding="zstd")).content == BODY


async def test_the_first_bytes_win_over_the_header() -> None:
    assert (await read(CODED["gzip"])).content == BODY
    assert (await read(CODED["gzip"], coding="zstd")).content == BODY
    assert (await read(BODY, coding="gzip")).content == BODY
    assert (await read(BODY, coding="zstd")).coding == "identity"
    assert (await read(b"{", b"}", coding="gzip")).content == b"{}"


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "identity,gzip", "compress", "gzip;q=1"])
async def test_other_codings_are_refused_unread(coding: str) -> None:
    async def receive() -> Message:
        pytest.fail("the body was read")

    request = Request({"type": "http", "headers": [(b"content-encoding", coding.encode())]}, receive)
    with pytest.raises(UnsupportedCoding) as caught:
        async with read_body(request, Limits()):
            pass
    assert caught.value.extensions["supported"] == ["gzip", "zstd", "identity"]


@pytest.mark.parametrize(
    "broken",
    [
        CODED["gzip"][:-1],
        CODED["gzip"][:-4] + b"\0\0\0\0",
        CODED["gzip"][:-8] + b"\1\2\3\4" + CODED["gzip"][-4:],
        CODED["gzip"] + b"tail",
        CODED["gzip"] + b"\x1f",
        CODED["gzip"][:40] + b"\xff" * 40 + CODED["gzip"][80:],
        b"\x1f\x8b",
        b"garbage",
    ],
)
async def test_broken_gzip_is_malformed(broken: bytes) -> None:
    with pytest.raises(MalformedBody) as caught:
        await read(*pieces(broken, 50), coding="gzip")
    assert BODY.startswith(caught.value.raw) or broken.startswith(caught.value.raw)


@pytest.mark.parametrize(
    "broken", [CODED["zstd"][:-1], CODED["zstd"] + b"tail", b"garbage", CODED["zstd"][:-4] + b"abcd"]
)
async def test_broken_zstd_is_malformed(broken: bytes) -> None:
    with pytest.raises(MalformedBody):
        await read(broken, coding="zstd")


async def test_a_zstd_window_beyond_8_mib_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(MalformedBody):
        await read(writer.compress(BODY) + writer.flush(), coding="zstd")


async def test_size_as_sent_is_judged_by_content_length_and_by_count() -> None:
    limits = Limits(wire_bytes=1000, budget=Budget())
    with pytest.raises(BodyTooLarge):
        await read(b"", length=1001, limits=limits)
    with pytest.raises(BodyTooLarge):
        await read(b"{" * 600, b"{" * 401, limits=limits)
    assert len((await read(b"{" * 1000, limits=limits)).content) == 1000


async def test_decoded_size_is_limited() -> None:
    noise = bytes(range(256)) * 64
    limits = Limits(content_bytes=10_000, budget=Budget())
    with pytest.raises(BodyTooLarge) as caught:
        await read(gzip.compress(noise), coding="gzip", limits=limits)
    assert caught.value.extensions["limit_bytes"] == 10_000


def zeros_gzip(total: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 20)
    for _ in range(total // len(block)):
        yield packer.compress(block)
    yield packer.flush()


async def test_ten_gib_of_zeros_are_refused_at_once_with_bounded_memory() -> None:
    budget = Budget()
    tracemalloc.start()
    try:
        started = time.perf_counter()
        with pytest.raises(CompressionBomb) as caught:
            async with read_body(
                request_of(zeros_gzip(10 << 30), {"content-encoding": "gzip"}), Limits(budget=budget)
            ):
                pass
        seconds = time.perf_counter() - started
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.headers == {"Connection": "close"}
    assert seconds < 2
    assert peak < 40 << 20
    assert budget.held == 0


async def test_a_zstd_bomb_of_run_length_blocks_is_refused_with_bounded_memory() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    tracemalloc.start()
    try:
        with pytest.raises(CompressionBomb):
            await read(bomb, coding="zstd")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20


async def test_a_body_of_very_many_members_is_refused() -> None:
    with pytest.raises(MalformedBody):
        await read(gzip.compress(b"") * 10_001, coding="gzip")


async def test_ratio_counts_only_past_the_first_mebibyte() -> None:
    under = gzip.compress(bytes(1 << 20))
    assert len(under) * 200 < 1 << 20 or len(under) < 1 << 20
    assert len((await read(under, coding="gzip")).content) == 1 << 20
    with pytest.raises(CompressionBomb):
        await read(gzip.compress(bytes((1 << 20) + 1)), coding="gzip")


@pytest.mark.parametrize(("silence", "total"), [(0.05, 10.0), (10.0, 0.05)])
async def test_a_slow_body_is_a_timeout(silence: float, total: float) -> None:
    limits = Limits(silence_seconds=silence, total_seconds=total, budget=Budget())
    chunks = [b"{"] * 20 if total < silence else [b"{", b"", b"", b"", b""]
    request = request_of(chunks, {}, pause=0.02)
    with pytest.raises(RequestTimeout):
        async with read_body(request, limits):
            pass


async def test_what_is_in_flight_is_counted_and_given_back() -> None:
    budget = Budget(limit=len(BODY) * 2)
    limits = Limits(budget=budget)
    async with read_body(request_of([BODY], {}), limits), read_body(request_of([CODED["gzip"]], {}), limits):
        assert budget.held == 2 * len(BODY)
        with pytest.raises(Unavailable) as caught:
            await read(b"{}", limits=limits)
        assert caught.value.headers["Retry-After"] == "5"
    assert budget.held == 0
    for broken in (CODED["gzip"][:-1], CODED["gzip"] + b"x"):
        with pytest.raises(Problem):
            await read(broken, limits=limits)
    assert budget.held == 0
