"""Reads a telemetry body: as sent and decoded, every limit checked while bytes arrive, one step in memory at a time.

A refusal leaves nothing behind; what is held counts against the process until the request is over.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import zstandard
from starlette.requests import Request

from guardhouse.foundation.errors import BodyTooLarge, Problem, RequestTimeout, Unavailable, UnsupportedCoding
from guardhouse.ingest.decode_lenient import MalformedBody

MIB: Final = 1 << 20
CODINGS: Final = ("gzip", "zstd", "identity")
_NAMES: Final = {"": "identity", "identity": "identity", "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
_GZIP_MAGIC: Final = b"\x1f\x8b"
_CLOSE: Final = {"Connection": "close"}
_STEP_BYTES: Final = 64 << 10
_ZSTD_FEED_BYTES: Final = 256  # a block of 4 bytes may say 128 KiB: at most 8 MiB come out of one feed
_ZSTD_WINDOW_BYTES: Final = 8 * MIB
_GZIP_WBITS: Final = zlib.MAX_WBITS | 16
_MAX_MEMBERS: Final = 10_000  # gzip members or zstd frames in one body; each costs set-up


class CompressionBomb(Problem):
    """The body decompresses to far more than it is."""

    status, code, title = 413, "compression_bomb", "Compression bomb"
    remediation = "Send smaller batches; telemetry does not compress beyond the ratio in `limit_ratio`."


@dataclass(slots=True)
class Budget:
    """Decoded bytes that all requests of this process may hold at once."""

    limit: int = 256 * MIB
    held: int = 0

    def take(self, count: int) -> None:
        """Hold more bytes.

        Raises:
            Unavailable: the process holds as much as it may; come back in 5 s.
        """
        if self.held + count > self.limit:
            raise Unavailable("Too many large bodies are being read at the moment.", retry_after_seconds=5)
        self.held += count

    def give(self, count: int) -> None:
        """Give bytes back."""
        self.held -= count


IN_FLIGHT: Final = Budget()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one body may be. Times in seconds; ``ratio`` counts once ``ratio_from`` bytes have come out."""

    wire_bytes: int = 16 * MIB
    content_bytes: int = 32 * MIB
    ratio: int = 200
    ratio_from: int = MIB
    silence_seconds: float = 30.0
    total_seconds: float = 120.0
    budget: Budget = field(default_factory=lambda: IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body as sent and decoded; ``coding`` is what it really was: gzip, zstd or identity."""

    wire: bytes
    content: bytes
    coding: str


@asynccontextmanager
async def read_body(request: Request, limits: Limits) -> AsyncIterator[RawBody]:
    """Read the body; its memory is accounted for until the block ends.

    Raises:
        UnsupportedCoding: more than one coding, or one that is not read here; before any byte is read.
        BodyTooLarge: over the limit as sent (from Content-Length, and while reading) or decoded.
        CompressionBomb: over the ratio.
        MalformedBody: broken compression, or bytes after its end.
        RequestTimeout: too slow.
        Unavailable: the process already holds as much as it may.
    """
    coding = read_coding(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.wire_bytes:
        raise _too_large_as_sent(limits)
    decoding = _Decoding(coding, limits)
    wire: list[bytes] = []
    try:
        async with aclosing(_chunks(request, limits)) as chunks:
            async for chunk in chunks:
                wire.append(chunk)
                for begin in range(0, len(chunk), _STEP_BYTES):
                    decoding.feed(chunk[begin : begin + _STEP_BYTES])
                    if begin:
                        await asyncio.sleep(0)  # others' turn
        decoding.finish()
        yield RawBody(b"".join(wire), b"".join(decoding.content), decoding.coding)
    except MalformedBody as problem:
        problem.raw = problem.raw or b"".join(wire)
        raise
    finally:
        limits.budget.give(decoding.size)


def read_coding(request: Request) -> str:
    """Return the one content coding that the headers name.

    Raises:
        UnsupportedCoding: unknown, or several.
    """
    named = ",".join(request.headers.getlist("content-encoding"))
    coding = _NAMES.get(named.strip().lower())
    if coding is None:
        raise UnsupportedCoding(
            f"The content coding {named[:100]} is not read here.", supported=list(CODINGS), headers=_CLOSE
        )
    return coding


async def _chunks(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield the bytes as they come, never empty, refused when they are too many or too slow."""
    latest = time.monotonic() + limits.total_seconds
    silent_until = time.monotonic() + limits.silence_seconds
    size = 0
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                async with asyncio.timeout(min(silent_until, latest) - time.monotonic()):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise RequestTimeout(
                    "The body came too slowly; nothing was stored.", headers=_CLOSE
                ) from None
            if not chunk:
                continue
            silent_until = time.monotonic() + limits.silence_seconds
            size += len(chunk)
            if size > limits.wire_bytes:
                raise _too_large_as_sent(limits)
            yield chunk


class _Decoder(Protocol):
    """One coding. ``complete``: the bytes so far may be all there are."""

    complete: bool

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes decode to, in bounded pieces."""
        ...


@dataclass(slots=True)
class _Decoding:
    """The decoded side of one body. The header may lie: the first two bytes decide."""

    coding: str
    limits: Limits
    content: list[bytes] = field(default_factory=list)
    size: int = 0
    fed: int = 0
    start: bytes = b""
    decoder: _Decoder | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes as sent."""
        if self.decoder is not None:
            self._run(self.decoder, data)
            return
        self.start += data
        if len(self.start) >= len(_GZIP_MAGIC):
            self.decoder = self._choose()
            self._run(self.decoder, self.start)

    def finish(self) -> None:
        """Take note that no more bytes follow."""
        if self.decoder is None:
            self.decoder = self._choose()
            self._run(self.decoder, self.start)
        if not self.decoder.complete:
            raise self._malformed("The compressed body is cut")

    def _choose(self) -> _Decoder:
        if self.start.startswith(_GZIP_MAGIC):
            self.coding = "gzip"
        elif self.start.startswith(b"{") or not self.start:
            self.coding = "identity"
        if self.coding == "gzip":
            return _Gzip()
        return _Zstd() if self.coding == "zstd" else _Plain()

    def _run(self, decoder: _Decoder, data: bytes) -> None:
        self.fed += len(data)
        try:
            for piece in decoder.feed(data):
                self._keep(piece)
        except (zlib.error, zstandard.ZstdError):
            raise self._malformed(f"The {self.coding} body is broken, or has bytes after its end") from None

    def _keep(self, piece: bytes) -> None:
        limits = self.limits
        limits.budget.take(len(piece))
        self.size += len(piece)
        if self.size > max(limits.ratio_from, self.fed * limits.ratio):
            raise CompressionBomb(
                f"The body decompresses to more than {limits.ratio} times its size.",
                limit_ratio=limits.ratio,
                headers=_CLOSE,
            )
        if self.size > limits.content_bytes:
            raise BodyTooLarge(
                f"The body is larger than {limits.content_bytes:,} bytes decoded.",
                limit_bytes=limits.content_bytes,
                headers=_CLOSE,
            )
        self.content.append(piece)

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(f"{what} (byte {self.fed}).", offset=self.fed, raw=b"".join(self.content))


class _Plain:
    """No coding."""

    complete = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class _Gzip:
    """Gzip members, one after the other; zlib checks each one's sum and length."""

    def __init__(self) -> None:
        self.complete = True
        self._members = 0
        self._member = zlib.decompressobj(_GZIP_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            self.complete = False
            piece = self._member.decompress(data, _STEP_BYTES)
            if piece:
                yield piece
            full = len(piece) == _STEP_BYTES  # more may wait inside, though all bytes are taken
            data = self._member.unconsumed_tail
            if self._member.eof:
                data, full = self._member.unused_data, False
                self._next_member()

    def _next_member(self) -> None:
        self.complete = True
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise zlib.error("too many members")
        self._member = zlib.decompressobj(_GZIP_WBITS)


class _Zstd:
    """Zstandard frames, one after the other, with windows of 8 MiB at most."""

    def __init__(self) -> None:
        self.complete = True
        self._frames = 0
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        self._frame = self._context.decompressobj(write_size=_STEP_BYTES)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for begin in range(0, len(data), _ZSTD_FEED_BYTES):
            rest = data[begin : begin + _ZSTD_FEED_BYTES]
            while rest:
                self.complete = False
                piece = self._frame.decompress(rest)
                if piece:
                    yield piece
                rest = b""
                if self._frame.eof:
                    rest = self._frame.unused_data
                    self._next_frame()

    def _next_frame(self) -> None:
        self.complete = True
        self._frames += 1
        if self._frames > _MAX_MEMBERS:
            raise zstandard.ZstdError("too many frames")
        self._frame = self._context.decompressobj(write_size=_STEP_BYTES)


def _too_large_as_sent(limits: Limits) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {limits.wire_bytes:,} bytes as sent.",
        limit_bytes=limits.wire_bytes,
        headers=_CLOSE,
    )
