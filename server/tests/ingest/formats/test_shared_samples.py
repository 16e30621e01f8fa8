"""Events that Tetragon itself wrote: what each one becomes, as counts and as one digest. Skipped where they are not."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from guardhouse.ingest.formats.tetragon import read_tetragon
from guardhouse.ingest.host_items import HostEvent
from guardhouse.ingest.import_alerts import FORMATS, as_events, read_alert

DATA = Path(os.environ.get("GUARDHOUSE_SHARED_DATA") or Path(__file__).parents[5] / "shared" / "data")
FOLDER = DATA / "syscall" / "falco-tetragon-samples" / "tetragon"
DIGEST = "b98db06f98c2722170a58524d8bb59d15e9fe3f70064e2190381b5d52a6c0c9f"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no samples of Tetragon at {FOLDER}; set GUARDHOUSE_SHARED_DATA"
)


def test_every_sample_is_read_as_before() -> None:
    found = [read_tetragon(json.loads(path.read_bytes())).members for path in sorted(FOLDER.glob("*.json"))]
    counted = Counter(members.get("syscall") or members["kind"] for members in found)
    assert counted == {"exec": 18, "exit": 9, "connect": 5, "close": 4, "listen": 2, "read": 1, "write": 1}
    told = json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(told).hexdigest() == DIGEST


def test_every_sample_is_an_event_of_a_host() -> None:
    raws = [path.read_bytes() for path in sorted(FOLDER.glob("*.json"))]
    readings = [read_alert(raw, FORMATS["tetragon"]) for raw in raws]
    assert all(isinstance(item, HostEvent) for item in as_events("tetragon", raws, readings, None))
