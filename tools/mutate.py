"""Break a promise of the doors on purpose, in a copy, and see that a test notices: one named mutation after another.

``python tools/mutate.py`` runs all, ``--only NAME`` one. Each changes one place of the code and runs the tests that
should fail; a mutation that survives, or no longer finds its place, makes the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from long_step import ROOT, bad, good

SOURCE = Path("server/src/guardhouse")
COPIED = ("server", "agent", "contract", "pyproject.toml", "docs", "tools", "locks")


@dataclass(frozen=True)
class Mutation:
    """One change: a text of a file, what stands there instead, and the tests that should not like it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "sign a body that was serialised again",
        "webhooks/sign.py",
        '{timestamp}.".encode() + body',
        '{timestamp}.".encode() + __import__("json").dumps(__import__("json").loads(body)).encode()',
        ("server/tests/webhooks/test_sign.py",),
    ),
    Mutation(
        "order notices by id",
        "notices/store.py",
        "ORDER BY epoch, txid, id LIMIT",
        "ORDER BY id LIMIT",
        ("server/tests/notices",),
    ),
    Mutation(
        "drop the horizon of notices",
        "notices/store.py",
        '"(epoch < (SELECT last_value FROM notice_epochs) OR txid < pg_snapshot_xmin(pg_current_snapshot()))"',
        '"(true)"',
        ("server/tests/notices",),
    ),
    Mutation(
        "compare a secret with ==",
        "foundation/signing.py",
        'hmac.compare_digest(legacy_mac(key, body).encode(), given.strip().encode("utf-8", "replace"))',
        "legacy_mac(key, body) == given.strip()",
        ("server/tests/test_architecture.py",),
    ),
    Mutation(
        "check the address at registration only",
        "foundation/outbound.py",
        "                self._rules.now().check_address(address, port, scheme=attempt.target.scheme)\n",
        "                pass\n",
        ("server/tests/foundation/test_outbound.py",),
    ),
    Mutation(
        "remember revoked keys whatever is notified",
        "identity/remembered.py",
        "        self.generation += 1\n        self._entries.clear()\n",
        "        self.generation += 0\n",
        ("server/tests/identity/test_keys.py", "server/tests/identity/test_sessions.py"),
    ),
    Mutation(
        "take a cursor without looking at its MAC",
        "foundation/pages.py",
        "if hmac.compare_digest(_mac(key, payload), given):",
        "if key is not None:",
        ("server/tests/foundation/test_pages.py",),
    ),
    Mutation(
        "a policy that the owner passes by",
        "foundation/migrate.py",
        "FORCE ROW LEVEL SECURITY",
        "NO FORCE ROW LEVEL SECURITY",
        ("server/tests/identity/test_row_level_security.py",),
    ),
    Mutation(
        "round Retry-After down",
        "usage/rate_fields.py",
        "max(1, -(-microseconds // MICROSECONDS))",
        "max(1, microseconds // MICROSECONDS)",
        ("server/tests/usage",),
    ),
    Mutation(
        "keep a refusal under its Idempotency-Key",
        "foundation/request.py",
        "    kept: Answer | None = None\n    try:\n        response = await handle(request)\n",
        '    kept: Answer | None = Answer(409, (), b"{}")\n    try:\n        response = await handle(request)\n',
        ("server/tests/foundation/test_idempotency.py",),
    ),
)


def main() -> int:
    """Run the asked mutations and return 1 when one of them was not noticed."""
    parser = argparse.ArgumentParser(description="Break promises on purpose and see that a test notices.")
    parser.add_argument("--only", choices=[mutation.name for mutation in MUTATIONS], help="run one")
    asked = parser.parse_args().only
    survivors = [one.name for one in MUTATIONS if asked in (None, one.name) and not _is_noticed(one)]
    print(
        f"{bad()} not noticed: {', '.join(survivors)}"
        if survivors
        else f"{good()} every mutation was noticed"
    )
    return 1 if survivors else 0


def _is_noticed(mutation: Mutation) -> bool:
    with tempfile.TemporaryDirectory(prefix="guardhouse-mutation-") as name:
        copy = Path(name)
        copy.chmod(0o755)
        for entry in COPIED:
            place = ROOT / entry
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            if place.is_dir():
                shutil.copytree(place, copy / entry, ignore=ignored)
            else:
                shutil.copy2(place, copy / entry)
        path = copy / SOURCE / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            print(
                f"{bad()} {mutation.name}: {mutation.file} has its text {text.count(mutation.old)} times",
                flush=True,
            )
            return False
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        sources = os.pathsep.join(str(copy / part) for part in ("server/src", "agent/src"))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *mutation.tests],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": sources},
            capture_output=True,
            text=True,
            check=False,
        )
        noticed = done.returncode == 1
        said = next(
            (line for line in done.stdout.splitlines() if line.startswith("FAILED")), done.stdout[-300:]
        )
        print(f"{good() if noticed else bad()} {mutation.name}: {said.strip()[:200]}", flush=True)
        return noticed


if __name__ == "__main__":
    sys.exit(main())
