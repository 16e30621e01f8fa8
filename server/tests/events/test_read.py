"""Stored events as the risk engine reads them: what was sent comes back, in position order."""

from datetime import timedelta

from guardhouse.events.read import read_after
from guardhouse.foundation.clock import SetClock, microseconds
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.components.hosts import Host


async def test_everything_an_event_says_reaches_the_engine(
    host: Host, resources: Resources, clock: SetClock
) -> None:
    at = clock.now() - timedelta(microseconds=1)
    host.members |= {"alphabet": "strace.set.v1"}
    full = {
        "pid": 5, "tid": 6, "ppid": 4, "start": 7, "seq": 1, "timestamp": at.isoformat(), "exe": "/bin/sh",
        "comm": "sh",
        "syscall": "openat", "args": {"path": "/x", "flags": ["O_RDONLY"], "odd": {"a": [1, None, 2.5]}}, "ret": -2,
        "errno": "ENOENT", "metadata": {"not": "read"}, "container": "c",
    }  # fmt: skip
    others = [
        {"pid": 5, "kind": "calls", "names": ["read", "write"], "seq": 2},
        {"pid": 5, "kind": "fork", "child_pid": 9, "child_start": 8, "seq": 3},
        {"pid": 9, "kind": "exit", "code": 3, "seq": 4},
        {"kind": "loss", "count": 12, "where": "kernel", "seq": 5},
        {
            "pid": 9,
            "kind": "finding",
            "rule": "r",
            "priority": "critical",
            "source": "falco",
            "tags": ["t"],
            "seq": 6,
        },
    ]
    await host.accepted([full, *others])
    await host.accepted([{"pid": 5, "syscall": "read", "seq": 0}])
    async with system_transaction(resources.database) as tx:
        agent_no = await tx.fetch_value("SELECT agent_no FROM host_agents")
        first, calls, fork, end, loss, finding, late = await read_after(tx, agent_no, 0, 10)
        assert [e.position for e in await read_after(tx, agent_no, 2, 3)] == [3, 4, 5]
        assert await read_after(tx, agent_no, 7, 3) == []
    assert first._asdict() | {"event_id": b""} == {
        "position": 1, "event_id": b"", "occurred_us": microseconds(at), "kind": "call", "pid": 5, "tid": 6, "ppid": 4,
        "start": 7, "boot_id": "b", "exe": "/bin/sh", "comm": "sh", "call": "openat", "ret": -2, "errno": "ENOENT",
        "args": full["args"], "names": None, "child_pid": None, "child_start": None, "code": None,
        "alphabet": "strace.set.v1", "late": False, "extra": None,
    }  # fmt: skip
    assert (calls.kind, calls.names, calls.call) == ("calls", ("read", "write"), None)
    assert (fork.kind, fork.child_pid, fork.child_start) == ("fork", 9, 8)
    assert (end.kind, end.code) == ("exit", 3)
    assert loss.extra is not None
    assert (loss.pid, loss.extra["count"], loss.extra["where"]) == (None, 12, "kernel")
    assert finding.extra is not None
    assert (finding.extra["rule"], finding.extra["priority"], finding.extra["tags"]) == (
        "r",
        "critical",
        ["t"],
    )
    assert (late.position, late.late) == (7, True)
