"""Files of other tools are forwarded as they are: signed, in pieces, again where the server asks, each line once."""

import gzip
import hashlib
import io
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.conftest import KEY, Receiver, Reply, Scripted, decode
from guard_agent.watch import forward_alerts
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.forward_alerts import Forwarded, Forwarding
from guard_agent.watch.import_log import ImportStoppedError


class Importer(Receiver):
    """The door of imports: knows every item by its text, refuses what has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[bytes] = []
        self.most_bytes = 1 << 20

    def take(self, headers: dict[str, str], path: str, body: bytes) -> Reply:
        if not self.signed(headers, path, body):
            return 401, {}, {"code": "unauthorized"}
        plain = decode(body, headers.get("content-encoding", "identity"))
        if len(plain) > self.most_bytes:
            return 413, {}, {"code": "body_too_large"}
        whole = headers["content-type"] == "application/json"
        items = [json.dumps(i).encode() for i in json.loads(plain)] if whole else plain.strip().split(b"\n")
        said: dict[str, Any] = {"accepted": 0, "duplicates": 0, "errors": 0, "position": 1, "results": []}
        for index, item in enumerate(items):
            if b'"rule"' not in item:
                said["errors"] += 1
                error = {"code": "event_invalid", "field": "rule", "detail": "no rule"}
                said["results"].append({"index": index, "id": None, "status": "error", "error": error})
            elif item in self.texts:
                said["duplicates"] += 1
            else:
                said["accepted"] += 1
                self.texts.append(item)
        return 207, {}, said

    def signed(self, headers: dict[str, str], path: str, body: bytes) -> bool:
        assert re.fullmatch(r"/api/v1/events:import\?format=(falco|tetragon|tracee)", path)
        names = re.search(r"\(([^)]*)\)", headers["signature-input"])
        assert names is not None
        assert {'"@query"', '"content-digest"', '"content-type"'} <= set(names[1].split())
        return KEY.key_id in headers["signature-input"] and hashlib.sha256(body).digest() is not None


@pytest.fixture
def importer() -> Iterator[Importer]:
    server = Importer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(json.dumps({"rule": f"r{n}"}).encode() + b"\n" for n in range(first, first + count))


def forward(importer: Importer, path: Path, **changed: Any) -> tuple[Forwarded, list[str]]:
    said: list[str] = []
    done = Forwarded()
    job = Forwarding(path, "falco", Credentials(importer.url, KEY), **changed)
    forward_alerts.forward_alerts(job, done, said.append)
    return done, said


@pytest.mark.parametrize("packed", [False, True])
def test_lines_go_as_they_are_in_pieces(importer: Importer, tmp_path: Path, *, packed: bool) -> None:
    path = tmp_path / "events.json"
    content = lines(1201) + b"\n" + b'{"rule":"last, without an end"}'
    path.write_bytes(gzip.compress(content) if packed else content)
    done, _ = forward(importer, path)
    assert (done.report.lines, done.totals.stored, done.totals.batches) == (1202, 1202, 3)
    assert importer.texts == content.replace(b"\n\n", b"\n").split(b"\n")


def test_the_same_file_again_is_known(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(lines(10))
    forward(importer, path)
    path.write_bytes(lines(12))
    done, _ = forward(importer, path)
    assert (done.totals.stored, done.totals.duplicates) == (2, 10)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"rule": "a", "n": [1]}, indent=2) + "\n" + json.dumps({"rule": "b"}, indent=2),
        json.dumps([{"rule": "a", "n": [1]}, {"rule": "b"}]),
        json.dumps([{"rule": "a", "n": [1]}, {"rule": "b"}], indent=1),
    ],
)
def test_documents_over_lines_and_arrays(importer: Importer, tmp_path: Path, content: str) -> None:
    path = tmp_path / "events.json"
    path.write_text(content)
    done, _ = forward(importer, path)
    assert (done.report.lines, done.totals.stored) == (2, 2)
    assert [json.loads(text)["rule"] for text in importer.texts] == ["a", "b"]


def test_standard_input(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines(3))))
    done, _ = forward(importer, Path("-"))
    assert done.totals.stored == 3


def test_what_is_no_event_is_told_and_costs_only_itself(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(lines(2) + b'{"no":1}\n\xff\xfe\n' + b"x" * 700_000 + b"\n" + lines(1, 2))
    done, said = forward(importer, path)
    assert (done.totals.stored, done.totals.refused) == (3, {"event_invalid": 2})
    assert (done.report.unreadable, len(done.report.kept[0])) == (1, 1024)
    assert "event_invalid" in said[0]


def test_the_server_s_waiting_time_is_kept_and_nothing_is_lost(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    path = tmp_path / "events.json"
    path.write_bytes(lines(5))
    importer.script = [
        Scripted(429, {"Retry-After": "7"}, {"code": "rate_limit_exceeded"}),
        Scripted(reset=True, after_store=True),
        Scripted(503, {"Retry-After": "3"}, {"code": "ingest_backlogged"}),
    ]
    done, said = forward(importer, path)
    assert (done.totals.stored, done.totals.duplicates) == (0, 5)
    assert waited[0] == 7
    assert waited[-1] == 3
    assert "429" in said[0]


def test_a_server_that_stays_away_ends_the_import(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(lines(5))
    importer.script = [Scripted(503) for _ in range(20)]
    with pytest.raises(ImportStoppedError, match="run the same command again"):
        forward(importer, path)


def test_a_refusal_ends_the_import_with_its_reason(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(lines(5))
    importer.script = [Scripted(422, {}, {"code": "unknown_format", "detail": "There is no such format."})]
    with pytest.raises(ImportStoppedError, match="unknown_format"):
        forward(importer, path)


def test_smaller_pieces_where_the_server_asks(importer: Importer, tmp_path: Path) -> None:
    importer.most_bytes = 200
    path = tmp_path / "events.json"
    path.write_bytes(lines(100) + json.dumps({"rule": "x" * 300}).encode() + b"\n")
    done, _ = forward(importer, path)
    assert (done.totals.stored, done.totals.refused) == (100, {"body_too_large": 1})


def test_a_coding_that_the_server_does_not_know(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(lines(3))
    importer.script = [Scripted(415, {}, {"code": "unsupported_coding"}) for _ in range(2)]
    done, _ = forward(importer, path)
    assert done.totals.stored == 3
    assert "content-encoding" not in importer.requests[-1]["headers"]


def test_an_empty_file_sends_nothing(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(b"\n")
    done, _ = forward(importer, path)
    assert (done.report.lines, importer.requests) == (0, [])


def test_a_followed_file_grows_and_is_rotated(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(lines(2))

    def more() -> None:
        with path.open("ab") as file:
            file.write(b'{"rule":"in two')

    def rest() -> None:
        with path.open("ab") as file:
            file.write(b' parts"}\n')

    def rotate() -> None:
        path.rename(tmp_path / "events.json.1")
        path.write_bytes(lines(1, 2))

    def stop() -> None:
        raise KeyboardInterrupt

    steps = iter([more, rest, rotate, lambda: None, stop])
    monkeypatch.setattr(time, "sleep", lambda _seconds: next(steps)())
    with pytest.raises(KeyboardInterrupt):
        forward(importer, path, follow=True)
    assert [json.loads(text)["rule"] for text in importer.texts] == ["r0", "r1", "in two parts", "r2"]
