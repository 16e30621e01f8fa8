import json
import random
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.conftest import KEY, Receiver, Scripted, decode
from guard_agent.watch import sender as sender_module
from guard_agent.watch.door import Door, ServerAddressError, UnreachableError
from guard_agent.watch.outbox import Outbox, best_coding
from guard_agent.watch.sender import Sender
from guard_agent.watch.spool import Spool
from guard_agent.watch.stream import Stream

STREAM = Stream("0198c0de", "web-1", "boot", "strace.set.v1", {"source": "live"})


def call(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "exec", "timestamp": 10**18 + number, "pid": 10, "start": 1, "syscall": "execve", **more}


CHANCE = random.Random(1)


class Rig:
    """A spool, its outbox and a sender that reports to one receiver; what it says is kept."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.said: list[str] = []
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.folder, STREAM)
        self.sender = Sender(Outbox(self.spool), Door(self.url), KEY, self.said.append, chance=CHANCE)

    def restart(self) -> None:
        self.sender.close()
        self.spool.close()
        self.open()

    def send_all(self, tries: int = 50) -> None:
        for _ in range(tries):
            if not self.spool.waiting:
                return
            self.sender.step()
        pytest.fail(f"not delivered: {self.said}")


@pytest.fixture
def rig(tmp_path: Path, receiver: Receiver) -> Any:
    made = Rig(tmp_path / "s", receiver.url)
    yield made
    made.sender.close()
    made.spool.close()


def test_a_batch_is_signed_packed_and_named(rig: Rig, receiver: Receiver) -> None:
    rig.spool.append([call(n) for n in range(3)])
    assert rig.sender.step().sent == 3
    (request,) = receiver.requests
    headers = request["headers"]
    assert request["path"] == "/api/v1/events"
    assert headers["guardhouse-family"] == "host"
    assert headers["user-agent"] == "guardhouse-agent/0.1.0"
    assert headers["content-encoding"] == best_coding()
    assert headers["prefer"] == "return=minimal"
    document = json.loads(decode(request["body"], headers["content-encoding"]))
    assert {k: document[k] for k in ("agent_id", "stream", "boot_id", "alphabet")} == {
        "agent_id": "web-1", "stream": "0198c0de", "boot_id": "boot", "alphabet": "strace.set.v1",
    }  # fmt: skip
    assert [event["seq"] for event in document["events"]] == [1, 2, 3]
    assert rig.spool.waiting == 0
    assert rig.sender.totals.stored == 3


def test_a_thousand_events_are_one_batch_and_one_connection(rig: Rig, receiver: Receiver) -> None:
    rig.spool.append([call(n) for n in range(2500)])
    rig.send_all()
    assert [len(batch) for batch in batches(receiver)] == [1000, 1000, 500]
    assert len(receiver.events()) == 2500


def batches(receiver: Receiver) -> list[list[dict[str, Any]]]:
    found = []
    for request in receiver.requests:
        body = decode(request["body"], request["headers"].get("content-encoding", "identity"))
        found.append(json.loads(body)["events"])
    return found


@pytest.mark.parametrize(
    "failure",
    [
        Scripted(503),
        Scripted(429, {"Retry-After": "0"}),
        Scripted(500),
        Scripted(reset=True),
        Scripted(reset=True, after_store=True),
        Scripted(503, after_store=True),
        Scripted(409, problem={"code": "idempotency_in_progress"}),
    ],
    ids=lambda failure: f"{failure.status}-{failure.reset}-{failure.after_store}",
)
def test_each_failure_is_retried_as_the_same_batch_signed_anew(
    rig: Rig, receiver: Receiver, failure: Scripted
) -> None:
    receiver.script = [failure, failure]
    rig.spool.append([call(n) for n in range(5)])
    rig.send_all()
    assert len(receiver.events()) == 5
    headers = [request["headers"] for request in receiver.requests]
    assert len({h["idempotency-key"] for h in headers}) == 1
    assert len({request["body"] for request in receiver.requests}) == 1
    assert len({h["signature-input"] for h in headers}) == len(headers) >= 3
    assert any("wait on disk and are tried again" in text for text in rig.said)
    assert rig.said[-1].endswith("takes events again")


def test_retry_after_is_obeyed(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(429, {"Retry-After": "7"}), Scripted(503, {"Retry-After": "600"})]
    rig.spool.append([call(1)])
    assert rig.sender.step().seconds == 7.0
    assert rig.sender.step().seconds == 600.0


def test_waits_double_up_to_five_minutes_with_full_jitter(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(503) for _ in range(40)]
    rig.spool.append([call(1)])
    seconds = [rig.sender.step().seconds for _ in range(40)]
    assert all(wait <= min(300.0, 2.0**n) for n, wait in enumerate(seconds))
    assert max(seconds) > 200.0
    assert len(set(seconds)) > 30
    assert len(rig.said) == 1  # one reason, one message


def test_a_batch_in_flight_survives_a_restart_byte_for_byte(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(503, after_store=True)]
    rig.spool.append([call(n) for n in range(5)])
    rig.sender.step()
    rig.restart()
    rig.spool.append([call(9)])
    rig.send_all()
    first, again, *_ = receiver.requests
    assert first["body"] == again["body"]
    assert first["headers"]["idempotency-key"] == again["headers"]["idempotency-key"]
    assert [event["seq"] for event in receiver.events()] == [1, 2, 3, 4, 5, 6]


def test_a_server_away_keeps_everything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    rig = Rig(tmp_path / "s", f"http://127.0.0.1:{port}")
    rig.spool.append([call(1)])
    assert rig.sender.step().seconds > 0
    assert rig.spool.waiting == 1
    assert rig.said == [
        f"cannot reach http://127.0.0.1:{port}: connection refused; 1 events wait on disk and are tried again"
    ]
    rig.spool.close()


def test_a_refused_key_is_said_once_and_the_spool_is_kept(rig: Rig, receiver: Receiver) -> None:
    receiver.agents.clear()
    rig.spool.append([call(1)])
    rig.sender.step()
    rig.sender.step()
    step = rig.sender.step()
    assert step.blocked is not None
    assert "enrol this host again" in step.blocked
    assert rig.spool.waiting == 1
    assert len(rig.said) == 1
    receiver.agents[KEY.agent_id] = KEY.secret
    rig.send_all()
    assert rig.sender.blocked is None


def test_items_that_the_server_refuses_are_counted_by_code_and_not_sent_again(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.refuse = lambda event: "event_too_old" if event["seq"] % 2 else None
    rig.spool.append([call(n) for n in range(10)])
    rig.send_all()
    assert rig.sender.totals.refused == {"event_too_old": 5}
    assert rig.spool.refused == {"event_too_old": 5}
    assert len(receiver.requests) == 1
    assert "refused 5 events with event_too_old (for example: pid refused by the test)" in rig.said[0]


def test_a_batch_that_is_too_large_is_halved(rig: Rig, receiver: Receiver) -> None:
    receiver.most_events = 3
    rig.spool.append([call(n) for n in range(10)])
    rig.send_all()
    assert [event["seq"] for event in receiver.events()] == list(range(1, 11))
    receiver.most_events = 0
    rig.spool.append([call(n) for n in range(2)])
    rig.send_all()
    assert rig.sender.totals.refused == {"body_too_large": 2}


def test_an_unknown_coding_falls_back_to_gzip_then_plain(rig: Rig, receiver: Receiver) -> None:
    receiver.known_codings = set()
    rig.spool.append([call(1)])
    rig.send_all()
    codings = [request["headers"].get("content-encoding") for request in receiver.requests]
    assert codings == list(dict.fromkeys([best_coding(), "gzip", None]))
    rig.spool.append([call(2)])
    rig.send_all()
    assert receiver.requests[-1]["headers"].get("content-encoding") is None


def test_a_key_that_the_server_knows_with_other_bytes_is_replaced(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(409, problem={"code": "idempotency_key_reused"})]
    rig.spool.append([call(1)])
    rig.send_all()
    first, second = (request["headers"]["idempotency-key"] for request in receiver.requests)
    assert first != second


def test_clock_skew_is_learned_and_said_once(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(503, {"Date": formatdate(time.time() + 120, usegmt=True)}) for _ in range(2)]
    rig.spool.append([call(1)])
    rig.sender.step()
    rig.sender.step()
    assert rig.sender.skew_seconds == pytest.approx(120, abs=3)
    assert len([text for text in rig.said if "clock" in text]) == 1


def test_run_flushes_within_a_second_and_drains_on_stop(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "FLUSH_SECONDS", 0.1)
    thread = threading.Thread(target=rig.sender.run)
    thread.start()
    rig.spool.append([call(1)])
    deadline = time.monotonic() + 5
    while not receiver.events() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(receiver.events()) == 1
    rig.spool.append([call(n) for n in range(1500)])
    rig.sender.stop(5.0)
    thread.join(6)
    assert not thread.is_alive()
    assert len(receiver.events()) == 1501


def test_a_drain_ends_by_its_deadline_and_leaves_the_rest(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(503, {"Retry-After": "60"}) for _ in range(9)]
    rig.spool.append([call(1)])
    thread = threading.Thread(target=rig.sender.run)
    begin = time.monotonic()
    thread.start()
    rig.sender.stop(0.5)
    thread.join(5)
    assert not thread.is_alive()
    assert time.monotonic() - begin < 2.0
    assert rig.spool.waiting == 1


def test_a_stop_cuts_a_long_wait_short_for_one_more_try(rig: Rig, receiver: Receiver) -> None:
    receiver.script = [Scripted(503) for _ in range(9)]
    rig.sender._failures = 9
    rig.spool.append([call(1)])
    thread = threading.Thread(target=rig.sender.run)
    thread.start()
    deadline = time.monotonic() + 5
    while not receiver.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    receiver.script = []
    rig.sender.stop(5.0)
    thread.join(4)
    assert not thread.is_alive()
    assert len(receiver.events()) == 1


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://h", "http://", "http://h:x", "http://u:p@h"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ServerAddressError):
        Door(url)


def test_a_server_that_speaks_no_http_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        door = Door(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UnreachableError):
            door.request("GET", "/", {}, None, timeout_seconds=5)
        thread.join(5)
