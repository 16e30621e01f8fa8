import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
import pytest_asyncio

from guardhouse.foundation import outbound as module
from guardhouse.foundation import own_addresses
from guardhouse.foundation.egress import EgressRefused, EgressRules
from guardhouse.foundation.outbound import Outbound, Unreachable
from guardhouse.settings import Settings
from server.tests.components import receiver as hostile
from server.tests.components.certificates import Authority, authority
from server.tests.components.names import Names
from server.tests.components.receiver import Behaviour, answer, raw, receiving

LOOPBACK = EgressRules.from_settings(Settings(egress_allow=["127.0.0.1/32:*"]))
PUBLIC = "93.184.215.14"


@asynccontextmanager
async def going_out(
    rules: EgressRules = LOOPBACK,
    *,
    names: Names | None = None,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
) -> AsyncIterator[Outbound]:
    outbound = Outbound(rules, lookup=names or Names(), tls=tls, proxy=proxy)
    try:
        yield outbound
    finally:
        await outbound.close()


@pytest_asyncio.fixture
async def outbound() -> AsyncIterator[Outbound]:
    async with going_out() as found:
        yield found


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


async def test_a_request_goes_as_given_and_its_answer_comes_back(outbound: Outbound) -> None:
    async with receiving(answer(202, b"thanks", X_Told="Yes")) as receiver:
        sent = {"Content-Type": "application/json", "X-One": "1"}
        got = await outbound.send("POST", receiver.url("/a%2Fb?q=1"), headers=sent, body=b'{"a": 1}')
    assert (got.status, got.body, got.cut, got.address) == (202, b"thanks", False, "127.0.0.1")
    assert got.headers["x-told"] == "Yes"
    assert got.latency_ms > 0
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("POST", "/a%2Fb?q=1", b'{"a": 1}')
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "Guardhouse",
        "content-type": "application/json",
        "x-one": "1",
        "content-length": "8",
    }


@pytest.mark.parametrize("status", [200, 204, 301, 304, 307, 400, 404, 410, 418, 429, 500, 503, 599])
async def test_every_status_is_an_answer(outbound: Outbound, status: int) -> None:
    async with receiving(answer(status)) as receiver:
        assert (await outbound.send("POST", receiver.url(), headers={})).status == status
    assert len(receiver.requests) == 1


async def test_a_redirect_is_not_followed_anywhere(outbound: Outbound) -> None:
    async with receiving(answer()) as inside, receiving(answer(302, Location=inside.url("/x"))) as outside:
        got = await outbound.send("GET", outside.url(), headers={})
    assert (got.status, got.headers["location"]) == (302, inside.url("/x"))
    assert inside.connections == 0


async def test_cookies_are_forgotten(outbound: Outbound) -> None:
    async with receiving(answer(Set_Cookie="a=b")) as receiver:
        for _ in range(2):
            await outbound.send("GET", receiver.url(), headers={})
    assert "cookie" not in receiver.requests[1].headers


async def test_connections_are_kept(outbound: Outbound) -> None:
    async with receiving(answer()) as receiver:
        for _ in range(5):
            await outbound.send("POST", receiver.url(), headers={})
    assert receiver.connections == 1


async def test_no_connection_is_kept_beyond_its_life(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTION_SECONDS", -1.0)
    async with receiving(answer()) as receiver:
        for _ in range(6):
            await outbound.send("POST", receiver.url(), headers={})
    assert receiver.connections >= 3


async def test_a_kept_connection_closed_meanwhile_is_no_failure(outbound: Outbound) -> None:
    async def close_after_the_second(turn: hostile.Turn) -> None:
        if len(receiver.requests) == 2:
            turn.writer.close()
        else:
            await answer(200, b"here")(turn)

    async with receiving(close_after_the_second) as receiver:
        for _ in range(2):
            assert (await outbound.send("POST", receiver.url(), headers={}, body=b"{}")).body == b"here"
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


@pytest.mark.parametrize("body", [b"x" * 1000, b"x" * 1001, b"x" * 200_000])
async def test_no_more_is_read_than_asked_for(outbound: Outbound, body: bytes) -> None:
    async with receiving(answer(200, body)) as receiver:
        got = await outbound.send("GET", receiver.url(), headers={}, max_bytes=1000)
    assert (got.body, got.cut) == (body[:1000], len(body) > 1000)


async def test_an_endless_answer_is_cut(outbound: Outbound) -> None:
    async with receiving(hostile.endless_body) as receiver:
        got = await outbound.send("GET", receiver.url(), headers={})
    assert (got.status, len(got.body), got.cut) == (200, 65_536, True)


async def test_a_compressed_answer_stays_compressed(outbound: Outbound) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    async with receiving(answer(200, bomb, Content_Encoding="gzip")) as receiver:
        got = await outbound.send("GET", receiver.url(), headers={})
    assert got.body == bomb[:65_536]


@pytest.mark.parametrize(
    "behave",
    [hostile.silence, hostile.slow_headers, hostile.slow_body],
    ids=["silence", "slow_headers", "slow_body"],
)
async def test_whoever_takes_too_long_is_left(outbound: Outbound, behave: Behaviour) -> None:
    async with receiving(behave) as receiver:
        with pytest.raises(Unreachable) as failure:
            await outbound.send("POST", receiver.url(), headers={}, timeout_seconds=0.3)
    assert (failure.value.reason, failure.value.address) == ("timeout", "127.0.0.1")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (hostile.reset, "reset"),
        (raw(b""), "reset"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), "reset"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "reset"),
        (raw(b"\x00\x01\x02garbage\r\n\r\n"), "protocol"),
        (raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n"), "protocol"),
    ],
    ids=[
        "reset",
        "close",
        "half_body",
        "half_head",
        "garbage",
        "ssh",
        "many_headers",
        "long_header",
        "length",
    ],
)
async def test_whoever_answers_badly_is_told_apart(
    outbound: Outbound, behave: Behaviour, reason: str
) -> None:
    async with receiving(behave) as receiver:
        with pytest.raises(Unreachable) as failure:
            await outbound.send("POST", receiver.url(), headers={}, timeout_seconds=5)
    assert (failure.value.reason, failure.value.address) == (reason, "127.0.0.1")


async def test_nobody_listening_is_a_failed_connect(outbound: Outbound) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(Unreachable) as failure:
            await outbound.send("POST", url, headers={})
    assert (failure.value.reason, failure.value.address) == ("connect", "127.0.0.1")


# TLS


async def test_the_name_is_checked_and_the_address_connected(signer: Authority) -> None:
    names = Names()
    names.say("hooks.example", ["127.0.0.1"])
    async with (
        receiving(answer(200, b"safe"), tls=signer.server("hooks.example")) as receiver,
        going_out(names=names, tls=signer.trust) as outbound,
    ):
        got = await outbound.send("POST", receiver.url(host="hooks.example"), headers={})
    assert (got.body, got.address) == (b"safe", "127.0.0.1")
    assert receiver.requests[0].headers["host"] == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize(("name", "days"), [("other.example", 1), ("hooks.example", -1)])
async def test_a_wrong_or_expired_certificate_is_refused(signer: Authority, name: str, days: int) -> None:
    names = Names()
    names.say("hooks.example", ["127.0.0.1"])
    async with (
        receiving(answer(), tls=signer.server(name, days=days)) as receiver,
        going_out(names=names, tls=signer.trust) as outbound,
    ):
        with pytest.raises(Unreachable) as failure:
            await outbound.send("POST", receiver.url(host="hooks.example"), headers={})
    assert failure.value.reason == "tls"
    assert not receiver.requests


async def test_an_unknown_authority_is_refused(outbound: Outbound, signer: Authority) -> None:
    async with receiving(answer(), tls=signer.server("localhost")) as receiver:
        with pytest.raises(Unreachable) as failure:
            await outbound.send("POST", receiver.url(), headers={})
    assert (failure.value.reason, failure.value.address) == ("tls", "127.0.0.1")


# Names


@pytest.mark.parametrize(
    "answers",
    [["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["127.0.0.2", PUBLIC], ["::1"], [PUBLIC, "::ffff:127.0.0.1"]],
)
async def test_one_forbidden_address_refuses_the_name(answers: Sequence[str]) -> None:
    names = Names()
    names.say("mixed.example", answers)
    async with going_out(names=names) as outbound:
        for ask in (outbound.resolve, lambda url: outbound.send("POST", url, headers={})):
            with pytest.raises(EgressRefused) as refused:
                await ask("https://mixed.example/")
            assert refused.value.rule == "address"
            assert not any(address in str(refused.value) for address in answers)


async def test_good_answers_are_given_out() -> None:
    names = Names()
    names.say("good.example", [PUBLIC, "2606:2800:21f:cb07::1", PUBLIC])
    async with going_out(names=names) as outbound:
        assert await outbound.resolve("https://good.example/") == [PUBLIC, "2606:2800:21f:cb07::1"]


async def test_seventeen_addresses_are_too_many() -> None:
    names = Names()
    names.say("many.example", [f"93.184.215.{last}" for last in range(17)])
    async with going_out(names=names) as outbound:
        with pytest.raises(EgressRefused, match="more than 16"):
            await outbound.resolve("https://many.example/")


async def test_an_answer_that_changes_after_the_check_reaches_nothing() -> None:
    names = Names()
    async with receiving(answer()) as receiver:
        rules = EgressRules(ports=frozenset({receiver.port}))
        names.say("rebind.example", [PUBLIC], ["127.0.0.1"])
        async with going_out(rules, names=names) as outbound:
            url = f"https://rebind.example:{receiver.port}/"
            assert await outbound.resolve(url) == [PUBLIC]
            with pytest.raises(EgressRefused) as refused:
                await outbound.send("POST", url, headers={})
    assert refused.value.rule == "address"
    assert receiver.connections == 0


async def test_an_address_forbidden_after_its_look_up_is_refused_at_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The look-up is trusted here and lies, so that the last check stands alone."""
    names = Names()
    names.say("liar.example", ["127.0.0.1"], ["127.0.0.1"])

    def trust(_self: EgressRules, found: Sequence[str], *_rest: object, **_more: object) -> list[str]:
        return list(found)

    async with receiving(answer()) as receiver:
        rules = EgressRules(ports=frozenset({receiver.port}))
        async with going_out(rules, names=names) as outbound:
            monkeypatch.setattr(EgressRules, "check_addresses", trust)
            with pytest.raises(EgressRefused) as refused:
                await outbound.send("POST", f"https://liar.example:{receiver.port}/", headers={})
            with pytest.raises(EgressRefused):
                await outbound.connect("liar.example", receiver.port, scheme="smtp")
    assert refused.value.rule == "address"
    assert receiver.connections == 0


async def test_plain_http_reaches_opened_networks_only() -> None:
    names = Names()
    names.say("inside.example", ["127.0.0.1"])
    names.say("outside.example", [PUBLIC])
    async with receiving(answer()) as receiver, going_out(names=names) as outbound:
        assert (await outbound.send("GET", receiver.url(host="inside.example"), headers={})).status == 200
        with pytest.raises(EgressRefused) as refused:
            await outbound.send("GET", receiver.url(host="outside.example"), headers={})
    assert refused.value.rule == "scheme"


@pytest.mark.parametrize("name", ["nobody.example", "empty.example"])
async def test_a_name_without_address_is_unreachable(name: str) -> None:
    names = Names()
    names.say("empty.example", [])
    async with going_out(names=names) as outbound:
        for ask in (outbound.resolve, lambda url: outbound.send("POST", url, headers={})):
            with pytest.raises(Unreachable) as failure:
                await ask(f"https://{name}/")
            assert (failure.value.reason, failure.value.address) == ("dns", None)


async def test_a_name_server_that_hangs_is_asked_once_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVE_SECONDS", 0.1)
    names = Names()
    names.hang("slow.example")
    async with going_out(names=names) as outbound:
        asked = await asyncio.gather(
            *(outbound.resolve("https://slow.example/") for _ in range(20)), return_exceptions=True
        )
        with pytest.raises(Unreachable, match="does not resolve"):
            await outbound.resolve("https://slow.example/")
        assert {type(failure) for failure in asked} == {Unreachable}
        assert names.asked["slow.example"] == 1
        names.hanging.set()


async def test_the_systems_own_look_up() -> None:
    outbound = Outbound(EgressRules())
    with pytest.raises(EgressRefused, match="may not reach"):
        await outbound.resolve("https://localhost/")
    with pytest.raises(Unreachable):
        await outbound.resolve("https://name.invalid/")
    await outbound.close()


async def test_addresses_of_this_machine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_addresses, "own_addresses", lambda: [ip_address(PUBLIC)])
    names = Names()
    names.say("me.example", [PUBLIC])
    async with going_out(names=names) as outbound:
        with pytest.raises(EgressRefused) as refused:
            await outbound.resolve("https://me.example/")
    assert refused.value.rule == "address"


# Surroundings and the configured proxy


async def test_proxies_of_the_surroundings_are_ignored(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving(answer(500)) as proxy, receiving(answer(200)) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await outbound.send("POST", receiver.url(), headers={})).status == 200
    assert proxy.connections == 0


async def test_a_configured_proxy_gets_everything_and_resolves_itself() -> None:
    names = Names()

    async def refuse_tunnel(turn: hostile.Turn) -> None:
        await answer(403)(turn)
        turn.writer.close()

    async with (
        receiving(refuse_tunnel) as proxy,
        going_out(EgressRules(), names=names, proxy=proxy.url()) as outbound,
    ):
        assert await outbound.resolve("https://hooks.example/") == []
        with pytest.raises(Unreachable):
            await outbound.send("POST", "https://hooks.example/x", headers={})
        with pytest.raises(EgressRefused):
            await outbound.send("POST", "http://hooks.example/x", headers={})
    assert [(r.method, r.path) for r in proxy.requests] == [("CONNECT", "hooks.example:443")]
    assert not names.asked


async def test_a_hundred_at_once(outbound: Outbound) -> None:
    async with receiving(answer(200, b"ok")) as receiver:
        got = await asyncio.gather(
            *(outbound.send("POST", receiver.url(f"/{n}"), headers={}) for n in range(100))
        )
    assert {found.body for found in got} == {b"ok"}
    assert {request.path for request in receiver.requests} == {f"/{n}" for n in range(100)}
