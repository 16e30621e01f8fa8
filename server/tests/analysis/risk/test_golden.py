import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType


def test_the_golden_file_is_what_the_engine_says(golden_tool: ModuleType, vectors: Path) -> None:
    text = (vectors / "risk_golden.jsonl").read_text("ascii")
    assert len(text) < 300_000
    assert text.splitlines() == golden_tool.golden()
    tail = json.loads(text.splitlines()[-1])
    assert tail["events"] == 10_000


def test_hash_order_does_not_matter(golden_tool: ModuleType) -> None:
    source = Path(golden_tool.__file__ or "")
    program = (
        "import importlib.util as u; s = u.spec_from_file_location('g', r'{}'); m = u.module_from_spec(s); "
    )
    program = program.format(source) + "s.loader.exec_module(m); print(m.golden(800)[-1])"
    tails = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env=environment
        )
        tails.add(done.stdout)
    assert len(tails) == 1
