"""Two sides of a bench: our agent and the released one, each in its own environment, in turns.

A bench runs its own file again there, as ``python bench.py probe {…}``; what the probe prints last is its result.
Only names that both packages have are used in probes.
"""

import argparse
import json
import os
import platform as machine
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench")]

from agent_environments import NotInstalledError, interpreter  # noqa: E402

OURS, RELEASED = "ours", "released"
KEY = "gh_live_bench-0123456789abcdef"


def sides(ours: str = "ours_alone", released: str = "g3") -> dict[str, Path]:
    """Return the interpreters; without the released package only ours, and the bench does not pass."""
    found = {OURS: interpreter(ours)}
    try:
        found[RELEASED] = interpreter(released)
    except NotInstalledError as error:
        print(f"not compared: {error}")
    return found


def full() -> bool:
    """Tell whether the long form was asked for (``--full``)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="the length of the plan instead of a minute")
    asked: bool = parser.parse_args().full
    return asked


def start(python: Path, bench: str, given: dict[str, Any], home: str) -> "subprocess.Popen[str]":
    """Start a bench's probe with a home of its own; its log goes beside it."""
    environment = {
        **os.environ,
        "HOME": home,
        "PYTHONPATH": str(Path(__file__).parent),
        "GUARD_AGENT_STATE_DIR": f"{home}/state",
    }
    with (Path(home) / "log").open("a") as log:
        return subprocess.Popen(
            [python, Path(bench).resolve(), "probe", json.dumps(given)],
            env=environment,
            cwd=home,
            text=True,
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            stderr=log,
        )


def result(process: "subprocess.Popen[str]", seconds: float = 300) -> Any:
    """Wait for a probe and return what it printed last."""
    out, _ = process.communicate(timeout=seconds)
    if process.returncode:
        raise RuntimeError(f"a probe ended with {process.returncode}: {process.args!r}\n{out}")
    return json.loads(out.splitlines()[-1])


def run(python: Path, bench: str, given: dict[str, Any], seconds: float = 300) -> Any:
    """Run a probe to its end."""
    with tempfile.TemporaryDirectory(prefix="agent-bench-") as home:
        try:
            return result(start(python, bench, given, home), seconds)
        except RuntimeError:
            print((Path(home) / "log").read_text()[-3000:], file=sys.stderr)
            raise


def finish(name: str, samples: dict[str, Sequence[float]], unit: str, **bounds: Any) -> None:
    """Keep the raw results beside the table and print the bench's line; without a released side it does not pass."""
    from _kit import finish as finish_row  # noqa: PLC0415 -- the server's packages, which probes do not have

    ours, released = samples[OURS], samples.get(RELEASED, ())
    place = ROOT / "out" / "bench" / f"{name}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine.platform(), "cores": os.cpu_count(), "python": machine.python_version()}
    place.write_text(json.dumps({**about, "unit": unit, "ours": [*ours], "released": [*released]}) + "\n")
    if released or bounds.pop("alone", False):
        bounds.pop("alone", None)
        finish_row(name, ours, released, unit, on="ours", **bounds)
    else:
        row = {"bench": name, "ours": None, "anchor": None, "ratio": None, "unit": f"{unit}, not compared"}
        print(json.dumps({**row, "must": bounds["must"], "goal": bounds.get("goal"), "ok": False}))
