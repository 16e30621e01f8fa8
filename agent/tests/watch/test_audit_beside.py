"""Records beside an audit daemon: lines of its socket and of its log, through rotation, rubbish and long lines."""

import socket
import threading
from pathlib import Path

import pytest

from guard_agent.watch.audit_beside import MAX_LINE_BYTES, AudispSocket, LogTail

LINE = "type=SYSCALL msg=audit(1.000:{}): arch=c000003e syscall=59\n"


def test_the_log_is_followed_from_its_end_through_rotation(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(LINE.format(1))
    tail = LogTail(log)
    assert tail.read() == []
    with log.open("a") as file:
        file.write(LINE.format(2) + "type=EOE msg=audit(1.0")
    assert tail.read() == [("SYSCALL", "audit(1.000:2): arch=c000003e syscall=59")]
    with log.open("a") as file:
        file.write("00:2): \n")
    log.rename(tmp_path / "audit.log.1")
    log.write_text(LINE.format(3))
    assert [kind for kind, _ in tail.read()] == ["EOE"]
    assert tail.read() == [("SYSCALL", "audit(1.000:3): arch=c000003e syscall=59")]
    log.write_text(LINE.format(4)[:20])  # cut short in place, as some rotations do
    assert tail.read() == []
    with log.open("a") as file:
        file.write(LINE.format(4)[20:])
    assert tail.read()[0][1].startswith("audit(1.000:4)")
    assert tail.unreadable == 0
    tail.close()


def test_rubbish_is_counted_and_long_lines_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.touch()
    tail = LogTail(log)
    with log.open("ab") as file:
        file.write(b"rubbish\n\xff\xfe\0\n\n" + b"x" * (MAX_LINE_BYTES + 1))
    assert tail.read() == []
    assert tail.unreadable == 3
    with log.open("ab") as file:
        file.write(b"\n" + LINE.format(5).encode())
    assert len(tail.read()) == 1
    tail.close()


def test_the_audisp_socket_is_read_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "audispd_events"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=lambda: accepted.append(server.accept()[0]))
        thread.start()
        source = AudispSocket(path)
        thread.join(10)
        assert source.read() == []
        accepted[0].sendall(("node=web-1 " + LINE.format(7) + LINE.format(8)).encode())
        records = source.read()
        assert [text.partition(")")[0] for _, text in records] == ["audit(1.000:7", "audit(1.000:8"]
        accepted[0].close()
        assert source.read() == []
        assert source.ended
        source.close()


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AudispSocket(tmp_path / "none")
    with pytest.raises(OSError, match="No such file"):
        LogTail(tmp_path / "none")
