"""Run every check of the project and print one line each; the exit status is 1 when any failed.

Run inside the environment that ``tools/bootstrap.py`` makes. ``--without-tests`` leaves the tests out;
``--only NAME`` runs one check. Each check's plain command is printed when it fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from long_step import OUT, ROOT, bad, good, tail

BIN = Path(sys.executable).parent
CONTRACT = ROOT / "contract" / "openapi.json"


@dataclass(frozen=True)
class Check:
    """One check: its name, the command that does it, and what to do when it fails."""

    name: str
    command: tuple[str, ...]
    remedy: str = ""
    folder: str = "."


CHECKS = (
    Check("format", ("ruff", "format", "--check", "."), "ruff format ."),
    Check("lint", ("ruff", "check", "."), "ruff check --fix ."),
    Check("types", ("mypy", "server/src", "agent/src", "train", "server/tests", "agent/tests")),
    Check("imports", ("lint-imports",)),
    Check("dependencies of the server", ("deptry", "src"), folder="server"),
    Check("dependencies of the agent", ("deptry", "src"), folder="agent"),
    Check(
        "contract",
        ("python", "tools/run_checks.py", "--compare-contract"),
        "make openapi, and review the diff",
    ),
)
OTHER_DATABASE = "GUARDHOUSE_TEST_DATABASE_URL"


def main() -> int:
    """Run the checks of the arguments and return the exit status."""
    parser = argparse.ArgumentParser(description="Run every check of the project.")
    parser.add_argument("--without-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--only", choices=[check.name for check in CHECKS], help="run one check")
    parser.add_argument("--compare-contract", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare_contract:
        return _compare_contract()
    checks = [check for check in CHECKS if arguments.only in (None, check.name)]
    failed = [check.name for check in checks if not _run(check)]
    if not arguments.without_tests and not arguments.only:
        failed += _run_tests()
    print(f"{bad()} failed: {', '.join(failed)}" if failed else f"{good()} every check passed", flush=True)
    return 1 if failed else 0


def _run(check: Check) -> bool:
    path = OUT / "check" / f"{check.name.replace(' ', '-')}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    program = sys.executable if check.command[0] == "python" else str(BIN / check.command[0])
    with path.open("wb") as output:
        code = subprocess.run(
            [program, *check.command[1:]],
            cwd=ROOT / check.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    mark = bad() if code else good()
    print(f"{mark} {check.name} ({time.monotonic() - begun:.1f} s)", flush=True)
    if code:
        print(tail(path))
        place = "" if check.folder == "." else f"cd {check.folder} && "
        print(f"    command: {place}{' '.join(check.command)}\n    log: {path}")
        if check.remedy:
            print(f"    next: {check.remedy}", flush=True)
    return code == 0


def _run_tests() -> list[str]:
    """Run the tests on the embedded PostgreSQL, then those that use a database on a given one too."""
    embedded = {name: value for name, value in os.environ.items() if name != OTHER_DATABASE}
    runs: list[tuple[str, tuple[str, ...], dict[str, str]]] = [("tests", (), embedded)]
    if OTHER_DATABASE in os.environ:
        runs.append(("tests on the given PostgreSQL", ("-m", "database"), dict(os.environ)))
    failed = []
    for name, options, environment in runs:
        print(f"… {name}", flush=True)
        command = [sys.executable, "tools/run_tests.py", *options]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
            failed.append(name)
    return failed


def _compare_contract() -> int:
    fresh = OUT / "check" / "openapi.json"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([str(BIN / "guardhouse"), "openapi", "--out", str(fresh)], cwd=ROOT, check=False)
    if done.returncode != 0:
        return done.returncode
    if not CONTRACT.exists():
        print(f"{CONTRACT} is missing: make openapi writes it.")
        return 1
    return subprocess.run(["diff", "-u", str(CONTRACT), str(fresh)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
