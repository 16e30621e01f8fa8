import asyncio
from pathlib import Path

import pytest

from guardhouse.cli import doctor_engine
from guardhouse.cli.finding import Mark
from guardhouse.detections import model_file
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.model_file import BadModel, check_model, shipped_model
from guardhouse.foundation.start_error import StartError
from guardhouse.settings import RemoteEngine, Settings
from server.tests.components.receiver import answer, receiving


def test_the_model_that_ships_is_whole_and_has_one_version() -> None:
    assert check_model(shipped_model()) == load_engine(shipped_model()).model.version


def test_a_damaged_model_stops_the_start_and_doctor_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.ghm"
    damaged.write_bytes(content)
    with pytest.raises(
        StartError, match=r"damaged: it says SHA-256 [0-9a-f]{64}, its content has [0-9a-f]{64}"
    ):
        check_model(damaged)
    monkeypatch.setattr(doctor_engine, "shipped_model", lambda: damaged)
    (finding,) = doctor_engine.look(Settings())
    assert (finding.mark, finding.what) == (Mark.FAILURE, "Detection model")
    assert "damaged" in finding.found


def test_a_model_made_for_other_rules_stops_the_start(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = model_file.data_digests() | {"core.json": "b" * 64}
    monkeypatch.setattr(model_file, "data_digests", lambda: digests)
    with pytest.raises(BadModel, match=f"core.json has SHA-256 {'b' * 64}, the model was trained with "):
        check_model(model)


def test_a_missing_model_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="No such file"):
        check_model(tmp_path / "absent.ghm")


async def test_doctor_asks_engines_elsewhere_how_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(answer(206)) as engine:
        settings = Settings(detect_remotes={"go": RemoteEngine(url=engine.url(""))})
        health = await doctor_engine._health(settings)
    assert health == {"go": "degraded"}

    async def said(_settings: Settings) -> dict[str, str]:
        return {"go": "degraded", "other": "healthy"}

    monkeypatch.setattr(doctor_engine, "_health", said)
    found = {one.what: one for one in await asyncio.to_thread(lambda: [*doctor_engine.look(settings)])}
    assert found["Detection engine go"].mark is Mark.WARNING
    assert found["Detection engine other"].mark is Mark.GOOD
