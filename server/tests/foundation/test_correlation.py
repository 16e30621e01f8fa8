import httpx
import pytest

from guardhouse.foundation import correlation
from guardhouse.foundation.jobs import JobContext, enqueue, job
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.components.logged import written
from server.tests.components.opened import add_tenant
from server.tests.identity import make
from server.tests.worker.make import eventually, working

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", True),
        (f"01-{TRACE}-{SPAN}-01-more", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        ("", False),
        ("gh_live_x", False),
    ],
)
async def test_a_trace_goes_on_or_is_begun(client: httpx.AsyncClient, given: str, *, kept: bool) -> None:
    answer = await client.get("/nothing", headers={"traceparent": given})
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, len(trace), len(span)) == ("00", 32, 16)
    assert (trace == TRACE) is kept
    assert span != SPAN
    assert flags == ("01" if kept and "-01" in given else "00")


async def test_without_a_header_each_request_begins_its_own(client: httpx.AsyncClient) -> None:
    traces = {(await client.get("/healthz")).headers["traceparent"] for _ in range(3)}
    assert len(traces) == 3


async def test_the_trace_reaches_notices_and_logs(client: httpx.AsyncClient, resources: Resources) -> None:
    _, text = await add_tenant(resources, "acme")
    headers = make.bearing(text) | {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Correlation-ID": "req-7f3a"}
    with written() as lines:
        answer = await client.post("/api/v1/keys", json={"name": "x"}, headers=headers)
    assert answer.status_code == 201
    assert f'"trace_id": "{TRACE}"' in lines.getvalue()
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT trace_id, correlation_id FROM notices WHERE kind = 'key.created'")
    assert row is not None
    assert tuple(row) == (TRACE, "req-7f3a")


async def test_the_trace_reaches_the_job_and_its_own_jobs(resources: Resources) -> None:
    seen: list[tuple[str, str | None]] = []

    @job("test.second")
    async def second(_context: JobContext, _payload: int) -> None:
        seen.append((correlation.current(), correlation.trace_id()))

    @job("test.first")
    async def first(context: JobContext, payload: int) -> None:
        seen.append((correlation.current(), correlation.trace_id()))
        async with system_transaction(context.resources.database) as tx:
            await enqueue(tx, second, payload)

    correlation.begin_request("req-1", f"00-{TRACE}-{SPAN}-01")
    async with system_transaction(resources.database) as tx:
        await enqueue(tx, first, 1)

    async def both() -> bool:
        return len(seen) == 2

    async with working(resources, first, second):
        await eventually(both)
    assert seen == [("req-1", TRACE)] * 2
