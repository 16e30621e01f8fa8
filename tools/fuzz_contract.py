"""Schemathesis over the whole document with every check and every phase, as admin, viewer and anonymous.

``python tools/fuzz_contract.py [--examples 200] [--seed 1] [--role admin]`` starts a server over a database of its own
and takes from minutes to an hour; `make test` runs the same with a few examples.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROLES = ("admin", "viewer", "anonymous")


def main() -> int:
    """Run pytest on the contract's fuzz test with the asked depth and return its status."""
    parser = argparse.ArgumentParser(description="Fuzz the whole API document.")
    parser.add_argument("--examples", type=int, default=200, help="examples per operation")
    parser.add_argument("--seed", type=int, default=1, help="where the examples come from")
    parser.add_argument("--role", choices=ROLES, help="one role; without it, all three")
    asked = parser.parse_args()
    environment = os.environ | {
        "GUARDHOUSE_FUZZ_EXAMPLES": str(asked.examples),
        "GUARDHOUSE_FUZZ_SEED": str(asked.seed),
        "GUARDHOUSE_FUZZ_PHASES": "examples,coverage,fuzzing,stateful",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--show-capture=no", "server/tests/contract"]
    command += ["-k", asked.role] if asked.role else []
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
