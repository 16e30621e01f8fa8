"""Run every test in parallel: the plan first, then pytest, then a table of groups with every skip's remedy.

On a build server a handful of failures is tried once more, one test at a time: tests of kills, signals and real
processes share two cores with everything else there. What passes then is printed as unstable, by name, and does not
fail the run; what fails twice does, and so do more than ``UNSTABLE_AT_MOST`` failures at once.

Run inside the environment that ``tools/bootstrap.py`` makes. Arguments go to pytest; with any, the plan and the
table are about what they choose.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

from long_step import OUT, ROOT, bad, good

REPORT = OUT / "test" / "junit.xml"
SUMMARY = OUT / "test" / "summary.txt"
SECONDS_PER_TEST = 0.7  # measured on two cores, process starts included
MAX_WORKERS = 8
SLOWEST = 5
UNSTABLE_AT_MOST = 5
SOME_TESTS_FAILED = 1  # pytest's exit status


def main() -> int:
    """Run the tests and return pytest's exit status; a skip is a failure where all must run."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.unlink(missing_ok=True)
    workers = max(2, min(MAX_WORKERS, os.cpu_count() or 2))
    environment = dict(os.environ)
    if environment.get("CI") == "true":
        environment.setdefault("GUARDHOUSE_REQUIRE_ALL", "1")
    chosen = sys.argv[1:]
    if not chosen:
        _print_plan(workers)
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), f"--junit-xml={REPORT}"]
    with subprocess.Popen(
        [*command, *chosen], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as pytest:
        last = ""
        for line in pytest.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    if not REPORT.exists():
        print(f"{bad()} pytest ended with status {pytest.returncode} before it could report.")
        return pytest.returncode or 1
    failed = _print_table(time.monotonic() - begun)
    status = pytest.returncode
    if environment.get("CI") == "true" and status == SOME_TESTS_FAILED and len(failed) <= UNSTABLE_AT_MOST:
        status = subprocess.call(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "--last-failed",
                "--last-failed-no-failures=none",
                *chosen,
            ],
            cwd=ROOT,
            env=environment,
        )
        verdict = "failed again" if status else "unstable, passed when run alone"
        last = f"{last}; {verdict}: {', '.join(failed)}"
    SUMMARY.write_text(last + "\n", encoding="utf-8")
    print(last)
    return status


def _print_plan(workers: int) -> None:
    counts: Counter[str] = Counter()
    for folder in ("server", "agent"):
        for path in (ROOT / folder / "tests").rglob("test_*.py"):
            counts[_group(path.relative_to(ROOT).as_posix())] += len(
                re.findall(r"^\s*(?:async )?def test_", path.read_text(encoding="utf-8"), re.MULTILINE)
            )
    total = sum(counts.values())
    minutes = max(1, round(total * SECONDS_PER_TEST / workers / 60))
    print(f"Plan: {total} test functions in {len(counts)} groups, {workers} at a time, about {minutes} min")
    for group, count in sorted(counts.items()):
        print(f"  {group:<32} {count:>5}")
    print(flush=True)


def _group(path: str) -> str:
    """Return the group of a test file: distribution and folder, such as ``server/identity``."""
    parts = Path(path).parts
    inside = parts[2:-1]
    return f"{parts[0]}/{inside[0]}" if inside else parts[0]


def _print_table(seconds: float) -> list[str]:
    """Print what happened, group by group; return the names of the tests that failed."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    skips: Counter[str] = Counter()
    durations: list[tuple[float, str]] = []
    failed: list[str] = []
    for case in ET.parse(REPORT).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest
        path = case.get("classname", "").replace(".", "/")
        group = _group(f"{path}.py")
        outcome = "passed"
        for child in case:
            if child.tag in {"failure", "error"}:
                outcome = "failed"
                failed.append(f"{path.rpartition('/')[2]}::{case.get('name')}")
            elif child.tag == "skipped":
                outcome = "skipped"
                skips[child.get("message") or "no reason given"] += 1
        outcomes[group][outcome] += 1
        durations.append((float(case.get("time", 0)), f"{path}::{case.get('name')}"))
    print(f"\n  {'group':<32} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for group, counts in sorted(outcomes.items()):
        mark = bad() if counts["failed"] else good()
        print(f"{mark} {group:<32} {counts['passed']:>7} {counts['failed']:>7} {counts['skipped']:>8}")
    for reason, count in skips.most_common():
        print(f"  skipped {count}: {reason}")
    print(
        "  slowest: "
        + ", ".join(f"{name.rpartition('/')[2]} {took:.1f} s" for took, name in _slowest(durations))
    )
    print(f"  {seconds:.0f} s in all; report: {REPORT}\n", flush=True)
    return failed


def _slowest(durations: list[tuple[float, str]]) -> list[tuple[float, str]]:
    return sorted(durations, reverse=True)[:SLOWEST]


if __name__ == "__main__":
    sys.exit(main())
