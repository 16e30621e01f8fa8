"""Fuzz the readers of the host agent (strace lines, audit records) for as long as told, and say what was met.

Each round reads one damaged log with good calls in it and asks: does it raise, does the server's door take every
event, is each line counted once, has each good call come out whole, does memory stay in bounds. The first
failure is printed with its seed, and `--seed` with that number repeats it.

    python tools/fuzz_agent.py --seconds 600 [--only audit] [--seed 7] [--corpus FOLDER]
"""

import argparse
import importlib
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEMORY_MIB = 64
GOOD = 300
MOST_FAILURES = 5


def resident_mib() -> float:
    """Memory that this process holds, in MiB."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def one_round(logs: Any, name: str, seed: int, extra: dict[str, tuple[bytes, ...]]) -> Any:
    """Read one damaged log; its report."""
    form = logs.FORMATS[name]
    rng = random.Random(seed)  # noqa: S311 -- a seed repeats a failure; nothing is kept secret
    return logs.check_log(form, logs.damaged_log(rng, form, GOOD, extra.get(name, ())), GOOD)


def main() -> int:
    """Run until the time is over; 1 when something failed."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of the host agent.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=["audit", "strace"])
    parser.add_argument("--seed", type=int, help="repeat this one round")
    parser.add_argument("--from-seed", type=int, default=1, help="the first round's seed")
    parser.add_argument("--corpus", type=Path, help="folder of *.log with further lines to damage")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    logs = importlib.import_module("agent.tests.watch.mangled_logs")
    names = [asked.only] if asked.only else list(logs.FORMATS)
    extra = logs.extra_seeds(asked.corpus)
    counts: Counter[str] = Counter()
    if asked.seed is not None:
        for name in names:
            print(name, one_round(logs, name, asked.seed, extra))
        return 0
    until = time.monotonic() + asked.seconds
    seed, base, highest, failures = asked.from_seed, 0.0, 0.0, 0
    while time.monotonic() < until and failures < MOST_FAILURES:
        for name in names:
            try:
                report = one_round(logs, name, seed, extra)
            except Exception:  # noqa: BLE001 -- whatever it is, it is what we look for
                failures += 1
                print(f"FAILED: {name} --seed {seed}")
                traceback.print_exc(limit=4)
                continue
            counts[f"{name} logs"] += 1
            counts[f"{name} lines"] += report.lines
            counts[f"{name} unreadable"] += report.unreadable
        base = base or resident_mib()
        highest = max(highest, resident_mib() - base)
        seed += 1
    print(f"{dict(counts)}; seeds {asked.from_seed}..{seed - 1}; memory grew by at most {highest:.1f} MiB")
    if highest > MEMORY_MIB:
        print(f"FAILED: memory grew by more than {MEMORY_MIB} MiB")
    return 1 if failures or highest > MEMORY_MIB else 0


if __name__ == "__main__":
    sys.exit(main())
