from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.errors import ValidationFailed
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.http.app import create_app
from guardhouse.identity import key_format
from guardhouse.identity.addresses import AddressNotAllowed, check_address, parse_networks
from guardhouse.identity.failures import ADDRESSES, Failures, TooManyFailures, network_of
from server.tests.components.opened import opened
from server.tests.identity import make

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_networks_are_stored_in_one_form() -> None:
    given = ["10.0.0.0/8", "192.0.2.1", "10.0.0.0/8", "2001:DB8::/32"]
    assert parse_networks(given) == ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")
    assert parse_networks([]) == ()


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.com", "10.0.0", "0x7f.1", "::1%eth0/64"]
)
def test_what_is_no_network_is_told_with_its_place(text: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_networks(["192.0.2.0/24", text])
    assert caught.value.errors[0]["pointer"] == "/ip_allow/1"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        (None, False),
        ("", False),
        ("localhost", False),
    ],
)
def test_an_address_is_in_one_of_the_networks(address: str | None, allowed: bool) -> None:  # noqa: FBT001 - a table
    networks = ("192.0.2.0/24", "2001:db8::/32")
    if allowed:
        check_address(networks, address)
    else:
        with pytest.raises(AddressNotAllowed):
            check_address(networks, address)
    check_address((), address)


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(failures: Failures, times: int, address: str = "192.0.2.1") -> int:
    """Fail so many times; return the seconds to wait that the last failure was told, 0 for none."""
    wait = 0
    for _ in range(times):
        try:
            failures.count(address)
            wait = 0
        except TooManyFailures as problem:
            wait = int(problem.headers["Retry-After"])
    return wait


def test_the_pause_after_thirty_failures_doubles_up_to_fifteen_minutes() -> None:
    ticks = Ticks()
    failures = Failures(ticks)
    for pause in (60, 120, 240, 480, 900, 900):
        assert fail(failures, 30) == 0
        assert fail(failures, 1) == pause
        assert fail(failures, 500) == pause  # what fails in a pause is not counted
        ticks.now += pause - 0.5
        assert fail(failures, 1) == 1
        ticks.now += 0.5
    ticks.now += 901
    assert fail(failures, 31) == 60  # a quiet quarter of an hour is a fresh start


def test_thirty_failures_in_more_than_a_minute_are_none_too_many() -> None:
    ticks = Ticks()
    failures = Failures(ticks)
    for _ in range(100):
        assert fail(failures, 1) == 0
        ticks.now += 2.1


def test_addresses_are_counted_apart_and_an_ipv6_network_is_one() -> None:
    failures = Failures(Ticks())
    assert fail(failures, 31) == 60
    assert fail(failures, 1, "192.0.2.2") == 0
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert fail(failures, 1, "::ffff:192.0.2.1") == 60


def test_the_memory_of_addresses_is_bounded() -> None:
    failures = Failures(Ticks())
    for number in range(ADDRESSES + 10):
        failures.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(failures._addresses) == ADDRESSES
    assert "10.0.0.9" not in failures._addresses


async def test_over_http_a_good_key_is_served_where_others_fail(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    _, good = await make.key(resources, await make.tenant(resources))
    bad = [make.bearing(key_format.new_key("live")), make.bearing("nonsense")]
    for number in range(30):
        answer = await client.get("/api/v1/me", headers=bad[number % 2])
        assert answer.status_code == 401
    for headers in bad:
        answer = await client.get("/api/v1/me", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_failures")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await client.get("/api/v1/me")).json()["code"] == "api_key_missing"
    assert (await client.get("/api/v1/me", headers=make.bearing(good))).status_code == 200


async def test_a_key_works_from_its_networks_only(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path) as resources:
        key, text = await make.key(resources, await make.tenant(resources), ip_allow=("192.0.2.0/24",))
        app = create_app(resources)
        async with app.router.lifespan_context(app):
            for address, status in (("192.0.2.9", 200), ("192.0.3.9", 403), ("192.0.2.10", 200)):
                transport = httpx.ASGITransport(app=app, client=(address, 5))
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                    answer = await client.get("/api/v1/me", headers=make.bearing(text))
                assert answer.status_code == status, address
        async with system_transaction(resources.database) as tx:
            assert await tx.fetch_value("SELECT last_used_ip FROM api_keys") == "192.0.2.10"
        assert key.ip_allow == ("192.0.2.0/24",)
