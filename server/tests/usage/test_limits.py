import asyncio
import time
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.http.app import create_app
from guardhouse.usage.limits import Limiter, network_of
from guardhouse.usage.local_windows import LocalWindows, Share
from guardhouse.usage.policy import minute
from guardhouse.usage.refusals import BatchOverLimit, QuotaExceeded, RateLimitExceeded
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make
from server.tests.usage.make import Someone, Ticks, give_plan, until

PUBLIC = "203.0.113.9"


async def test_twenty_parallel_calls_at_limit_ten_admit_exactly_ten(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    await give_plan(resources, tenant.id, per_minute=10)
    answers = await asyncio.gather(*(client.get("/api/v1/me", headers=make.bearing(text)) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 10
    left = sorted(
        int(a.headers["ratelimit"].split("r=")[1].split(";")[0]) for a in answers if a.status_code == 200
    )
    assert left == list(range(10))


async def test_a_refusal_says_all_there_is_to_know(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    await give_plan(resources, tenant.id, per_minute=1, per_day=100)
    admitted = await client.get("/api/v1/me", headers=make.bearing(text))
    refused = await client.head("/api/v1/me", headers=make.bearing(text))
    assert refused.status_code == 429
    refused = await client.get("/api/v1/me", headers=make.bearing(text))
    assert admitted.headers["ratelimit-policy"] == '"tenant-minute";q=1;w=60, "tenant-day";q=100;w=86400'
    assert admitted.headers["ratelimit"] == '"tenant-minute";r=0;t=60, "tenant-day";r=99;t=86400'
    assert admitted.headers["x-ratelimit-limit"] == "1"
    assert admitted.headers["x-ratelimit-remaining"] == "0"
    assert refused.json()["code"] == "rate_limit_exceeded"
    assert refused.json()["violated-policies"] == ["tenant-minute"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["retry_after_seconds"] == int(refused.headers["retry-after"])
    assert '"tenant-day";r=99;' in refused.headers["ratelimit"]  # the refused calls cost nothing
    assert "x-ratelimit-reset" in refused.headers


async def test_the_older_headers_can_be_left_out(database_url: str, tmp_path: Path) -> None:
    async with (
        opened(database_url, tmp_path, compat_headers=False, anonymous_per_minute=1) as resources,
        api.client_of(resources) as client,
    ):
        for status in (404, 429):
            answer = await client.get("/nothing")
            assert answer.status_code == status
            assert "ratelimit" in answer.headers
            assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_retry_after_is_true_to_the_second(resources: Resources) -> None:
    """Waiting it out passes, and one second less does not, whatever the fraction at which the calls came."""
    for fraction in (0.0, 0.000001, 0.4, 0.999999):
        ticks = Ticks()
        ticks.move(fraction)
        windows = LocalWindows(ticks)
        limiter, caller = Limiter(resources, windows), Someone(minute=2).caller()
        await limiter.admit(caller)
        ticks.move(12.3)
        await limiter.admit(caller)
        ticks.move(0.1)
        with pytest.raises(RateLimitExceeded) as refused:
            await limiter.admit(caller)
        seconds = int(refused.value.headers["Retry-After"])
        assert seconds == 48  # 60 - 12.4, rounded up
        ticks.move(seconds - 1)
        with pytest.raises(RateLimitExceeded):
            await limiter.admit(caller)
        ticks.move(1)
        await limiter.admit(caller)
        with pytest.raises(RateLimitExceeded):
            await limiter.admit(caller)


async def test_a_day_is_a_quota_and_all_policies_or_none_are_charged(resources: Resources) -> None:
    ticks = Ticks()
    limiter, caller = Limiter(resources, LocalWindows(ticks)), Someone(minute=5, day=6).caller()
    for _ in range(5):
        await limiter.admit(caller)
    for _ in range(3):
        with pytest.raises(RateLimitExceeded):
            await limiter.admit(caller)
    ticks.move(60)
    verdict = await limiter.admit(caller)
    assert [reading.left for reading in verdict.readings] == [4, 0]
    with pytest.raises(QuotaExceeded) as refused:
        await limiter.admit(caller)
    assert refused.value.extensions["violated-policies"] == ["day"]
    ticks.move(int(refused.value.headers["Retry-After"]) - 1)
    with pytest.raises(QuotaExceeded):
        await limiter.admit(caller)
    ticks.move(1)
    verdict = await limiter.admit(caller)
    assert verdict.readings[0].left == 4  # the minute was not charged for what the day refused


async def test_a_call_may_cost_more_and_never_more_than_the_limit(resources: Resources) -> None:
    limiter, caller = Limiter(resources, LocalWindows(Ticks())), Someone(minute=10).caller()
    verdict = await limiter.admit(caller, cost=8)
    assert verdict.readings[0].left == 2
    with pytest.raises(RateLimitExceeded):
        await limiter.admit(caller, cost=3)
    with pytest.raises(BatchOverLimit) as refused:
        await limiter.admit(caller, cost=11)
    assert refused.value.extensions == {"limit": 10, "cost": 11}
    await limiter.admit(caller, cost=2)


async def test_a_key_has_limits_of_its_own_and_a_change_holds(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    _, admin = await make.key(resources, tenant)
    key, text = await make.key(resources, tenant, "viewer", rate_limit_per_minute=2, rate_limit_per_day=3)
    answers = [await client.get("/api/v1/me", headers=make.bearing(text)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"minute";q=2;w=60, "day";q=3;w=86400'
    assert answers[1].headers["x-ratelimit-remaining-minute"] == "0"
    assert answers[1].headers["x-ratelimit-remaining-day"] == "1"
    changed = await client.patch(
        f"/api/v1/keys/{key.id}", json={"rate_limit_per_minute": 50}, headers=make.bearing(admin)
    )
    assert changed.status_code == 200
    deadline = time.monotonic() + 30
    while (answer := await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 429:
        if answer.json()["code"] == "quota_exceeded":
            break
        assert time.monotonic() < deadline
    answer = await client.get("/api/v1/me", headers=make.bearing(text))
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert answer.headers["x-ratelimit-limit-minute"] == "50"


async def test_keys_of_one_tenant_have_limits_of_their_own(resources: Resources) -> None:
    limiter, someone = Limiter(resources, LocalWindows(Ticks())), Someone(minute=1)
    await limiter.admit(someone.caller())
    await limiter.admit(someone.caller())


async def test_without_limits_nothing_is_said(client: httpx.AsyncClient, resources: Resources) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    answer = await client.get("/api/v1/me", headers=make.bearing(text))
    assert answer.status_code == 200
    assert not [name for name in answer.headers if "ratelimit" in name]


async def test_a_stranger_has_sixty_a_minute_whatever_it_asks(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path, anonymous_per_minute=60) as resources:
        app = create_app(resources)
        async with app.router.lifespan_context(app), api.client_for(app, PUBLIC) as client:
            asked = ["/api/v1/me", "/nothing", "/problems", "/api/v1/openapi.json"]
            statuses = [(await client.get(asked[n % 4])).status_code for n in range(60)]
            assert set(statuses) == {401, 404, 200}
            answer = await client.get("/api/v1/me")
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limit_exceeded")
            assert answer.json()["violated-policies"] == ["address"]
            assert (await client.get("/problems", headers={"X-API-Key": "junk"})).status_code == 429
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.options("/api/v1/me")).status_code == 405
            _, text = await make.key(resources, await make.tenant(resources))
            assert (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 200
            async with api.client_for(app, "203.0.113.10") as other:
                assert (await other.get("/api/v1/me")).status_code == 401


def test_shares_add_up_to_the_limit() -> None:
    for processes in (1, 2, 3, 4, 7):
        for limit in (7, 60, 61, 10_000):
            assert sum(Share(processes, place).of(limit) for place in range(processes)) == limit
    assert [Share(4, place).of(2) for place in range(4)] == [1, 1, 1, 1]


def test_memory_for_strangers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardhouse.usage.local_windows.MOST_WINDOWS", 100)
    ticks = Ticks()
    windows = LocalWindows(ticks)
    for number in range(1000):
        policies = [minute("address", f"address:{number}", 60, "a")]
        assert windows.take(policies).admitted
        assert len(windows._windows) <= 100
    ticks.move(60)
    assert windows.sweep() == 0


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (None, "unknown"),
        ("unix", "unknown"),
    ],
)
def test_an_address_counts_as_its_network(address: str | None, counts_as: str) -> None:
    assert network_of(address) == counts_as


async def test_a_process_among_others_keeps_its_share_and_a_new_one_is_seen(
    resources: Resources, database_url: str, tmp_path: Path
) -> None:
    app = create_app(resources)
    async with app.router.lifespan_context(app):
        limiter: Limiter = app.state.limiter
        assert limiter.local.share.processes == 1
        async with opened(database_url, tmp_path) as others:
            other = create_app(others)
            async with other.router.lifespan_context(other):
                await until(lambda: limiter.local.share.processes == 2)
                assert limiter.state == "in process, shares"
                assert {limiter.local.share.place, other.state.limiter.local.share.place} == {0, 1}
        await until(lambda: limiter.local.share.processes == 1)
