from pydantic import SecretStr

from guardhouse.cli import doctor_limits
from guardhouse.cli.finding import Mark
from guardhouse.settings import Settings
from server.tests.components.redis_server import redis_server


def test_without_redis_every_process_keeps_its_share() -> None:
    (found,) = doctor_limits.look(Settings())
    assert found.mark is Mark.GOOD
    assert "share" in found.found


def test_redis_is_used_and_its_absence_told_with_what_happens() -> None:
    with redis_server() as server:
        (found,) = doctor_limits.look(Settings(redis_url=SecretStr(server.url)))
        assert found.mark is Mark.GOOD
        assert "shared on Redis" in found.found
    (found,) = doctor_limits.look(Settings(redis_url=SecretStr(server.url), rate_limit_fallback="closed"))
    assert found.mark is Mark.WARNING
    assert "503" in found.found
    assert found.remedy


def test_an_address_that_is_none() -> None:
    (found,) = doctor_limits.look(Settings(redis_url=SecretStr("nowhere")))
    assert found.mark is Mark.WARNING
