import pytest

from guardhouse.events import find
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.errors import NotFound
from server.tests.components.hosts import Host
from server.tests.ingest.make import Door

LARGEST = (1 << 63) - 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web-1:7", ("web-1", 7, None)),
        ("web-1:7:0", ("web-1", 7, 0)),
        ("a:b:7:z", ("a:b", 7, 35)),
        ("web-1:4194304:1y2p0ij32e8e7", ("web-1", 4_194_304, LARGEST)),
    ],
)
def test_a_process_id_is_agent_pid_and_start(text: str, parts: tuple[str, int, int | None]) -> None:
    assert find.split_process_id(text) == parts


@pytest.mark.parametrize(
    "text", ["", ":", "web-1", "web-1:", ":7", "web-1:x", "web-1:-1", "web-1:12345678", "web-1:7:", "web-1:7:Z",
             "web-1:7:1y2p0ij32e8e8", "web-1:7:zzzzzzzzzzzzz", "web-1:7:zzzzzzzzzzzzzz", "a\nb:7", "web-1:\uff17"],
)  # fmt: skip
def test_what_is_no_process_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        find.split_process_id(text)


@pytest.mark.parametrize(
    "milliseconds", [0, find.LATEST_MS, find.LATEST_MS + 1, find.LATEST_MS + 2, (1 << 48) - 1]
)
async def test_an_id_of_any_time_is_just_not_found(door: Door, milliseconds: int) -> None:
    name = f"{milliseconds:012x}7000800000000000" + "0000"
    for path in (f"/api/v1/events/{name}", f"/api/v1/scores/{name}"):
        answer = await door.client.get(path, headers={"X-API-Key": door.key})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_agent_enrolled_twice_is_paged_without_loss(door: Door, host: Host, clock: SetClock) -> None:
    """Positions start anew with the second enrolment: the place in the list must name the agent too."""
    admin = {"X-API-Key": door.key}

    async def send(first: int) -> None:
        base = int(clock.now().timestamp() * 1e9)
        events = [
            {"seq": n, "pid": 7, "syscall": "read", "timestamp": base + n} for n in range(first, first + 3)
        ]
        assert (await host.send(events)).json()["accepted"] == 3

    await send(1)
    assert (await door.client.delete(f"/api/v1/agents/{host.id}", headers=admin)).status_code == 204
    await send(11)
    seen: list[str] = []
    query = f"process_id={host.id}:7&limit=2"
    cursor = ""
    while True:
        page = (await door.client.get(f"/api/v1/events?{query}{cursor}", headers=admin)).json()
        seen += [event["id"] for event in page["data"]]
        if not page["pagination"]["has_more"]:
            break
        cursor = f"&cursor={page['pagination']['cursor']}"
    assert len(seen) == len(set(seen)) == 6
