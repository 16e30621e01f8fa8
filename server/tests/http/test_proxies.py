from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.transaction import system_transaction
from guardhouse.http.proxies import client_address
from server.tests.components import api
from server.tests.components.opened import add_tenant, opened
from server.tests.identity import make

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, nonsense, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        (None, ["198.51.100.7"], None),
    ],
)
def test_the_chain_is_read_from_the_right_to_the_first_stranger(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == address


@pytest.mark.parametrize(
    ("trusted", "address"), [([], "127.0.0.1"), ([ip_network("127.0.0.0/8")], "198.51.100.7")]
)
async def test_the_judged_address_is_what_the_house_records(
    database_url: str, tmp_path: Path, trusted: list[object], address: str
) -> None:
    async with opened(database_url, tmp_path, trusted_proxies=trusted) as resources:
        _, text = await add_tenant(resources, "platform", role="platform")
        async with api.client_of(resources) as client:
            answer = await client.put(
                "/api/v1/admin/kill-switch",
                json={"mode": "NORMAL", "reason": "test"},
                headers=make.bearing(text)
                | {"X-Forwarded-For": "1.1.1.1, 198.51.100.7", "X-Forwarded-Host": "evil"},
            )
            assert answer.status_code == 200
            problem = await client.get("/nothing", headers={"Host": "evil", "X-Forwarded-Host": "evil"})
            assert problem.json()["type"].startswith("http://127.0.0.1:8000/")
        async with system_transaction(resources.database) as tx:
            assert (
                await tx.fetch_value("SELECT ip FROM audit_log WHERE action = 'platform.set_mode'") == address
            )


async def test_hostile_headers_break_nothing(database_url: str, tmp_path: Path) -> None:
    async with (
        opened(database_url, tmp_path, trusted_proxies=[ip_network("127.0.0.0/8")]) as resources,
        api.client_of(resources) as client,
    ):
        for value in (b"\xff\xfe", b"," * 1000, b"1" * 1000, b"fe80::1%eth0", b"::1%", b"'; DROP"):
            answer = await client.get("/healthz", headers=httpx.Headers([(b"x-forwarded-for", value)]))
            assert answer.status_code == 200
