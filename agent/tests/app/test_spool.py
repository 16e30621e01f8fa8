"""Files of a spool in any state: reading them never raises, whole records are delivered, the rest is counted."""

import itertools
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.tests.app.conftest import MakeAgent, adds_up, config_for, event
from agent.tests.app.sink import Script, Sink, wait_for
from agent.tests.app.test_lifetime import PRELUDE
from guard_agent._pipeline.account import Account
from guard_agent._pipeline.adopt import adopt_spools
from guard_agent._pipeline.frame import ITEM, pack_frame, read_frames
from guard_agent._pipeline.seal import Sealer
from guard_agent._pipeline.serialise import Item
from guard_agent._pipeline.split_batch import read_items
from guard_agent._pipeline.spool import Spool
from guard_agent.config import AgentConfig
from guard_agent.encryption import PayloadEncryptor

CONFIG = AgentConfig(api_key="gh_live_0123456789", endpoint="http://127.0.0.1:9", max_batch_items=3)
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
_folders = itertools.count()


def body(number: int) -> bytes:
    return b'{"reason":"%d"}' % number


def left_behind(root: Path, items: int, encryptor: PayloadEncryptor | None = None) -> Path:
    """Make the folder of a process that died with `items` items: half of them sealed, half of them not."""
    folder = root / f"instance-{next(_folders)}"
    account = Account(folder.name)
    spool = Spool(folder, account, encryptor)
    sealer = Sealer(CONFIG, account, encryptor)
    for number in range(items):
        last = spool.append("normal", Item(bytes(16), body(number)))
        account.ledger.keep("events", "spool")
        if number < items // 2:
            for batch in sealer.add("normal", body(number), place="spool", last=last, now=0.0):
                spool.write_batch(batch)
    for kind in sealer.kinds():
        spool.write_batch(sealer.seal(kind, 0.0))
    spool.save()
    spool.abandon()
    return folder


def inherit(root: Path, encryptor: PayloadEncryptor | None = None) -> tuple[list[bytes], list[Account]]:
    """Adopt everything below `root`; returns the items found and the accounts of the dead."""
    found: list[bytes] = []
    accounts = []
    for estate in adopt_spools(root, set(), CONFIG, encryptor):
        accounts.append(estate.spool.account)
        for batch in estate.batches:
            text = estate.spool.read_batch(batch)
            assert text is not None
            found += read_items(batch, text, encryptor)
        estate.spool.close()
    return found, accounts


@pytest.mark.parametrize("items", [0, 1, 7, 40])
@pytest.mark.parametrize("encryptor", [None, PayloadEncryptor(KEY)], ids=["plain", "encrypted"])
def test_an_heir_finds_every_item_once_in_order(
    tmp_path: Path, items: int, encryptor: PayloadEncryptor | None
) -> None:
    folder = left_behind(tmp_path, items, encryptor)
    if encryptor is not None:
        assert all(b"reason" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for _ in range(2):  # a second heir, where the first died too
        found, (account,) = inherit(tmp_path, encryptor)
        assert found == [body(number) for number in range(items)]
        assert account.ledger.captured("events") == items
        assert adds_up(account.ledger.snapshot())


def test_modes_of_what_is_written_keep_others_out(tmp_path: Path) -> None:
    folder = left_behind(tmp_path, 5)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


def test_of_a_spool_under_another_key_sealed_batches_go_out_and_the_rest_is_counted(tmp_path: Path) -> None:
    left_behind(tmp_path, 8, PayloadEncryptor(KEY))
    (estate,) = adopt_spools(tmp_path, set(), CONFIG, None)
    estate.spool.close()
    snapshot = estate.spool.account.ledger.snapshot()["events"]
    assert [batch.encrypted for batch in estate.batches] == [True, True]
    assert (snapshot["pending"]["spool"], snapshot["dropped"]["spool_corrupt"]) == (4, 4)
    assert snapshot["captured"] == 8


def mutate(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data)) if data else 0
    match chance.randrange(5):
        case 0:
            return (
                data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :] if data else b"x"
            )
        case 1:
            return data[:at]
        case 2:
            return data[:at] + bytes(chance.randrange(1, 200)) + data[at + chance.randrange(1, 200) :]
        case 3:
            return data[:at] + chance.randbytes(chance.randrange(1, 100)) + data[at:]
        case _:
            return chance.choice([b"", b"GH", b"GHSPOOL1", b"\xff" * 5000, data * 2])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_no_mutation_of_any_file_makes_adoption_raise_or_the_ledger_wrong(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    root = tmp_path_factory.mktemp("mutated")
    folder = left_behind(root, 12)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    for path in chance.sample(files, chance.randrange(1, len(files) + 1)):
        path.write_bytes(mutate(path.read_bytes(), chance))
    found, accounts = inherit(root)
    assert set(found) <= {body(number) for number in range(12)}
    assert all(adds_up(account.ledger.snapshot()) for account in accounts)
    shutil.rmtree(root)


def test_a_damaged_record_costs_itself_alone(tmp_path: Path) -> None:
    folder = left_behind(tmp_path, 0)
    records = [pack_frame(ITEM, "normal", number + 1, bytes(16), body(number)) for number in range(10)]
    records[4] = records[4][:-1] + b"!"
    (folder / "items-0000000000000001.log").write_bytes(b"".join(records))
    found, (account,) = inherit(tmp_path)
    assert found == [body(number) for number in range(10) if number != 4]
    assert account.ledger.snapshot()["events"]["dropped"]["spool_corrupt"] == 1
    assert [path.name[9:] for path in (tmp_path / "corrupt").iterdir()] == ["items-0000000000000001.log"]


@given(data=st.binary(max_size=500), place=st.integers(0, 500))
@settings(max_examples=200, deadline=None)
def test_reading_records_never_raises_and_finds_the_whole_ones(data: bytes, place: int) -> None:
    whole = pack_frame(ITEM, "attack", 7, bytes(16), b"payload")
    cut = min(place, len(data))
    found = [frame for frame in read_frames(data[:cut] + whole + data[cut:]) if frame is not None]
    assert all(frame.record in range(256) for frame in found)
    assert any(frame.payload == b"payload" for frame in read_frames(whole) if frame is not None)


def test_a_full_disk_is_no_error_and_is_used_again_when_it_has_room(sink: Sink, state_dir: Path) -> None:
    """The limit on the size of files stands for the full disk: every write beyond it fails."""
    program = (
        PRELUDE
        + """
import resource
agent = agent_for(durability="disk", buffer_size=10)
agent.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for number in range(500):
    agent.send_event(event(number))
while agent.get_stats()["spool"]["durability"] != "memory":
    time.sleep(0.01)
stats = agent.get_stats()
assert stats["buffer_stats"]["durability_degraded"]
assert agent.get_status().status == "degraded"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
agent._engine.keeper._rests_until = 0.0
while agent.get_stats()["spool"]["durability"] != "disk" or agent.ledger()["events"]["delivered"] < 500:
    time.sleep(0.01)
agent.stop()
print(agent.ledger()["events"]["delivered"], agent.ledger()["events"]["captured"])
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", program, sink.url, str(state_dir)],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["500", "500"]
    assert len(set(sink.names())) == len(sink.names()) == 500


def test_without_any_folder_to_write_to_memory_serves(
    sink: Sink, make_agent: MakeAgent, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    told: list[str] = []
    agent = make_agent(
        sink, durability="auto", state_dir=blocked / "x", on_error=lambda stage, *_: told.append(stage)
    )
    agent.send_event(event("sent"))
    agent.flush_buffer()
    assert sink.names() == ["sent"]
    assert "spool" in told
    assert agent.get_stats()["spool"]["durability"] == "memory"


def test_a_full_spool_gives_way_noise_first(sink: Sink, make_agent: MakeAgent) -> None:
    sink.choose = lambda _: Script(reset=True)
    agent = make_agent(sink, durability="auto", spool_max_bytes=8 << 20, buffer_size=50, noise="keep")
    filler = {"filler": ["x" * 1000] * 20}
    for number in range(600):
        agent.send_event(event(f"noise {number}", "geo_lookup_failed", metadata=filler))
        if number % 10 == 0:
            agent.send_event(event(f"attack {number}", "penetration_attempt"))
    wait_for(lambda: agent.ledger()["events"]["dropped"]["spool_evicted"] > 0)
    sink.choose = lambda _: None
    wait_for(lambda: not sum(agent.ledger()["events"]["pending"].values()), 60)
    ledger: dict[str, Any] = agent.ledger()
    assert adds_up(ledger)
    assert ledger["events"]["dropped"]["spool_evicted"] > 0
    attacks = {f"attack {number}" for number in range(0, 600, 10)}
    assert attacks <= set(sink.names())


def test_batches_older_than_the_limit_expire(sink: Sink, make_agent: MakeAgent) -> None:
    sink.choose = lambda _: Script(reset=True)
    agent = make_agent(sink, durability="auto", spool_max_age=1)
    agent.send_event(event("old", "penetration_attempt"))
    wait_for(lambda: agent.ledger()["events"]["dropped"]["expired"] == 1)
    assert agent.ledger()["events"]["dropped"]["expired"] == 1
    assert adds_up(agent.ledger())


def test_the_folder_of_another_endpoint_is_left_alone(sink: Sink, state_dir: Path) -> None:
    assert config_for(sink).endpoint == sink.url
    other = state_dir / "spool" / "0123456789abcdef" / "instance"
    other.mkdir(parents=True)
    (other / "ledger").write_bytes(os.urandom(100))
    assert list(adopt_spools(state_dir / "spool" / "fedcba9876543210", set(), CONFIG, None)) == []
    assert other.exists()
