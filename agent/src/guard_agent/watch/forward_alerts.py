"""Forward files of Falco, Tetragon and Tracee to the server, which reads them: raw, in bounded pieces, signed.

No spool: the server knows an event by its own text, so the file is its own spool, and the same file sent twice, or cut
short and sent again, is stored once. Lines that are too long to be an event are counted and kept, as any reader does.
"""

import gzip
import json
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final, cast

from guard_agent import watch
from guard_agent.watch.answer import Named, OtherCoding, Refused, TooLarge, TryAgain, Verdict, judge
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.door import Door, UnreachableError
from guard_agent.watch.import_log import MAX_FAILURES, ImportStoppedError
from guard_agent.watch.outbox import best_coding, encode_body
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.sender import (
    FIRST_WAIT_SECONDS,
    LAST_WAIT_SECONDS,
    REQUEST_SECONDS,
    SIGNATURE_SECONDS,
    Totals,
)
from guard_agent.watch.sign import Moment, content_digest, sign

ALERT_FORMATS: Final = ("falco", "tetragon", "tracee")
IMPORT_PATH: Final = "/api/v1/events:import"
STDIN: Final = Path("-")
CHUNK_LINES: Final = 500
CHUNK_BYTES: Final = 1024 * 1024
MAX_LINE_BYTES: Final = 256 * 1024
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
POLL_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
_GZIP: Final = b"\x1f\x8b"
_LINES: Final = "application/x-ndjson"
_JSON: Final = "application/json"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Forwarding:
    """One file to forward (`-`: standard input), what is in it, and whether to wait for more at its end."""

    path: Path
    format: str
    credentials: Credentials
    follow: bool = False


@dataclass(slots=True)
class Forwarded:
    """What became of one file so far."""

    report: ReadReport = field(default_factory=ReadReport)
    totals: Totals = field(default_factory=Totals)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some events as they stand in the file: `items` are lines, or whole documents of a file in several lines."""

    items: list[bytes]
    media: str

    def body(self) -> bytes:
        if self.media == _LINES:
            return b"\n".join(self.items) + b"\n"
        return b"[" + b",\n".join(self.items) + b"]"


def forward_alerts(job: Forwarding, done: Forwarded, say: Say) -> None:
    """Send one file; `done` counts as it goes, so that it tells the truth after an interruption too.

    Raises:
        ImportStoppedError: the server is away or refuses; running the same command again goes on.
        OSError: the file cannot be read.
    """
    sender = _Sender(job, done, say)
    try:
        for chunk in _chunks(job, done.report):
            sender.send(chunk)
    finally:
        sender.close()


# -- reading ----------------------------------------------------------------------------------------------


def _chunks(job: Forwarding, report: ReadReport) -> Iterator[_Chunk]:
    with _open(job.path) as file:
        first = file.readline(MAX_LINE_BYTES + 1)
        if _is_document(first) or job.follow or not first.lstrip().startswith((b"{", b"[")):
            yield from _in_lines(_lines(file, first, report, job.path if job.follow else None))
        else:
            whole = first + file.read(MAX_DOCUMENT_BYTES - len(first) + 1)
            if len(whole) > MAX_DOCUMENT_BYTES:
                raise ImportStoppedError(
                    f"{job.path}: one document of more than {MAX_DOCUMENT_BYTES >> 20} MiB;"
                    " write one event per line, as `jq -c .` does"
                )
            yield from _in_documents(whole, report)


def _open(path: Path) -> IO[bytes]:
    if path == STDIN:
        return sys.stdin.buffer
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    if packed:
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _is_document(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(file: IO[bytes], line: bytes, report: ReadReport, followed: Path | None) -> Iterator[bytes | None]:
    """Yield lines without their ends; None whenever the end is met and more is waited for."""
    rest = b""
    while True:
        while line:
            rest += line
            if not rest.endswith(b"\n") and len(rest) <= MAX_LINE_BYTES:
                if followed is None:
                    break
            elif len(rest) > MAX_LINE_BYTES:
                report.lines += 1
                report.keep(rest.decode("utf-8", "replace"))
                _skip_line(file, rest)
                rest = b""
            else:
                yield from _counted(rest, report)
                rest = b""
            line = file.readline(MAX_LINE_BYTES + 1 - len(rest))
        if followed is None:
            yield from _counted(rest, report)
            return
        yield None
        try:
            file = _again(file, followed)
        except BaseException:
            file.close()
            raise
        line = file.readline(MAX_LINE_BYTES + 1 - len(rest))


def _counted(line: bytes, report: ReadReport) -> Iterator[bytes]:
    stripped = line.strip()
    if stripped:
        report.lines += 1
        yield stripped


def _skip_line(file: IO[bytes], begun: bytes) -> None:
    while begun and not begun.endswith(b"\n"):
        begun = file.readline(MAX_LINE_BYTES)


def _again(file: IO[bytes], path: Path) -> IO[bytes]:
    """Wait a moment at a file's end; return it, or what stands at its path since it was rotated or emptied."""
    time.sleep(POLL_SECONDS)
    try:
        now = path.stat()
    except FileNotFoundError:  # between the two steps of a rotation
        return file
    begun = Path(f"/proc/self/fd/{file.fileno()}").stat()
    if now.st_ino == begun.st_ino and now.st_size >= file.tell():
        return file
    file.close()
    return path.open("rb")


def _in_lines(lines: Iterator[bytes | None]) -> Iterator[_Chunk]:
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        if line is not None:
            gathered.append(line)
            size += len(line)
        if gathered and (line is None or len(gathered) >= CHUNK_LINES or size >= CHUNK_BYTES):
            yield _Chunk(gathered, _LINES)
            gathered, size = [], 0
    if gathered:
        yield _Chunk(gathered, _LINES)


def _in_documents(whole: bytes, report: ReadReport) -> Iterator[_Chunk]:
    """Yield the documents of a file whose events span lines; of an array, its elements."""
    text = whole.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    gathered: list[bytes] = []
    size = 0
    for document in _documents(text, decoder, report):
        report.lines += 1
        gathered.append(document.encode())
        size += len(gathered[-1])
        if len(gathered) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield _Chunk(gathered, _JSON)
            gathered, size = [], 0
    if gathered:
        yield _Chunk(gathered, _JSON)


def _documents(text: str, decoder: json.JSONDecoder, report: ReadReport) -> Iterator[str]:
    at, inside = 0, False
    while True:
        while at < len(text) and (
            text[at].isspace() or (inside and text[at] in ",]") or text[at] == "\ufeff"
        ):
            inside = inside and text[at] != "]"
            at += 1
        if at >= len(text):
            return
        if text[at] == "[" and not inside:
            inside, at = True, at + 1
            continue
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            report.keep(text[at:])
            return
        yield text[at:end]
        at = end


# -- sending ----------------------------------------------------------------------------------------------


class _Sender:
    """Sends one chunk after the other, each until the server has named all of its events."""

    def __init__(self, job: Forwarding, done: Forwarded, say: Say) -> None:
        self._job, self._done, self._say = job, done, say
        self._door = Door(job.credentials.server)
        self._coding = best_coding()
        self._replayed = False
        self._chance = random.Random()  # noqa: S311 -- jitter, not a secret

    def close(self) -> None:
        self._door.close()

    def send(self, chunk: _Chunk) -> None:
        """Send a chunk, in smaller ones where the server asks for that."""
        failures = 0
        while True:
            verdict = self._post(chunk)
            if isinstance(verdict, Named):
                if self._replayed and not failures:  # an earlier run has sent this very piece
                    verdict = replace(verdict, stored=0, duplicates=verdict.stored + verdict.duplicates)
                self._count(verdict)
                return
            if isinstance(verdict, TooLarge):
                self._split(chunk)
                return
            if isinstance(verdict, OtherCoding) and self._coding != "identity":
                self._coding = "gzip" if self._coding == "zstd" else "identity"
                continue
            if not isinstance(verdict, TryAgain):
                reason = (
                    verdict.reason if isinstance(verdict, Refused) else "the server takes no import of ours"
                )
                raise ImportStoppedError(f"{self._job.path}: {reason}")
            failures += 1
            self._wait(verdict, failures)

    def _wait(self, verdict: TryAgain, failures: int) -> None:
        """Wait as the server says, else longer each time; a file is given up, a followed one is not."""
        if failures > MAX_FAILURES and not self._job.follow:
            raise ImportStoppedError(
                f"{self._job.path}: {verdict.reason}; run the same command again to go on: what is stored is known"
            )
        if failures == 1:
            self._say(f"{verdict.reason}; trying again")
        ceiling = min(LAST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 10))
        seconds = verdict.after_seconds
        if seconds is None:
            seconds = self._chance.uniform(0.0, ceiling)
        time.sleep(min(seconds, LAST_WAIT_SECONDS if self._job.follow else LONGEST_PAUSE_SECONDS))

    def _split(self, chunk: _Chunk) -> None:
        if len(chunk.items) == 1:
            self._count(Named(0, 0, {"body_too_large": 1}))
            return
        middle = len(chunk.items) // 2
        for part in (chunk.items[:middle], chunk.items[middle:]):
            self.send(_Chunk(part, chunk.media))

    def _post(self, chunk: _Chunk) -> Verdict:
        again = self._door.is_open
        try:
            return self._post_once(chunk)
        except UnreachableError as error:
            if not again:
                return TryAgain(f"cannot reach {self._door.url}: {error}")
        try:  # the kept connection may just have been closed by the server: that is no failure of the server
            return self._post_once(chunk)
        except UnreachableError as error:
            return TryAgain(f"cannot reach {self._door.url}: {error}")

    def _post_once(self, chunk: _Chunk) -> Verdict:
        body = encode_body(chunk.body(), self._coding)
        headers = {
            "content-type": chunk.media,
            "content-digest": content_digest(body),
            "prefer": "return=minimal",
            "user-agent": f"guardhouse-agent/{watch.__version__}",
        }
        if self._coding != "identity":
            headers["content-encoding"] = self._coding
        now = int(time.time())
        path = f"{IMPORT_PATH}?format={self._job.format}"
        moment = Moment(now, secrets.token_urlsafe(24), now + SIGNATURE_SECONDS)
        headers |= sign(self._door.url + path, headers, self._job.credentials.key, moment)
        answer = self._door.request("POST", path, headers, body, timeout_seconds=REQUEST_SECONDS)
        self._replayed = answer.headers.get("idempotency-replayed") == "true"
        return judge(answer, len(chunk.items), now=time.time())

    def _count(self, named: Named) -> None:
        totals = self._done.totals
        totals.batches += 1
        totals.stored += named.stored
        totals.duplicates += named.duplicates
        for code, count in named.refused.items():
            if code not in totals.refused:
                example = f" (for example: {named.example})" if named.example else ""
                self._say(f"the server refused {count} events with {code}{example}")
            totals.refused[code] = totals.refused.get(code, 0) + count
