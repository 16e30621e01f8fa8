"""Run every file of ``bench/`` in turn and print what each reached beside what it must and should reach.

Each prints JSON objects ``{"bench","ours","anchor","ratio","unit","must","goal","ok"}``, one per figure, the
main one last. A run of all of them writes the table to ``docs/reference/benchmarks.md``; every run writes
``out/bench/bench.json``. What lies in ``anchors/`` or begins with ``_`` is no bench of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from long_step import OUT, ROOT, bad, good

TIMEOUT_SECONDS = 900
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
COLUMNS = ("bench", "ours", "anchor", "ratio", "unit", "must", "goal")


def main() -> int:
    """Run the benches named by the arguments, or all; returns 1 when one missed what it must reach."""
    named = set(sys.argv[1:])
    files = sorted(path for path in (ROOT / "bench").rglob("*.py") if _is_bench(path))
    chosen = [path for path in files if not named or path.stem in named]
    found = [_run(path) for path in chosen]
    rows = [row for some in found for row in some]
    table = _table(rows)
    (OUT / "bench" / "bench.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not named:
        PAGE.write_text(_page(table), encoding="utf-8")
    print(table, end="")
    return 0 if rows and all(found) and all(row["ok"] for row in rows) else 1


def _is_bench(path: Path) -> bool:
    return not path.name.startswith("_") and "anchors" not in path.parts


def _run(path: Path) -> list[dict[str, object]]:
    """Run one bench and return the objects it printed, the last line's last; none when that is no object."""
    name = path.relative_to(ROOT).as_posix()
    print(f"… {name}", flush=True)
    begun = time.monotonic()
    (OUT / "bench").mkdir(parents=True, exist_ok=True)
    log = OUT / "bench" / f"{path.stem}.log"
    with log.open("w", encoding="utf-8") as output:
        try:
            subprocess.run(
                [sys.executable, name],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{bad()} {name} did not end within {TIMEOUT_SECONDS} s (log: {log})")
            return []
    rows = [row for line in log.read_text(encoding="utf-8").splitlines() if (row := _row(line))]
    if not rows:
        print(f"{bad()} {name} printed no result (log: {log})")
    else:
        fine = all(row["ok"] for row in rows)
        print(f"{good() if fine else bad()} {name} ({time.monotonic() - begun:.0f} s)", flush=True)
    return rows


def _row(line: str) -> dict[str, object] | None:
    """Return the figure in a line of output; None when it is another line."""
    if not line.startswith('{"bench"'):
        return None
    row: dict[str, object] = json.loads(line)
    return {**dict.fromkeys(COLUMNS), "ok": False, **row}


def _page(table: str) -> str:
    cores = os.cpu_count()
    python = ".".join(map(str, sys.version_info[:3]))
    today = datetime.now(tz=UTC).date().isoformat()
    return (
        "# Benchmarks\n"
        "Written by `make bench`. Each row is a file in `bench/` that takes its anchor in the same run, in turns;\n"
        "medians are shown. `must` and `goal` bound the ratio where there is one, else our figure.\n\n"
        f"{today}, a virtual machine with {cores} cores that load generator, server and database share,\n"
        f"Linux, Python {python}.\n\n{table}"
    )


def _table(rows: list[dict[str, object]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} | ok |", "|" + "---|" * (len(COLUMNS) + 1)]
    for row in rows:
        cells = ["-" if row[name] is None else str(row[name]) for name in COLUMNS]
        lines.append(f"| {' | '.join(cells)} | {'yes' if row['ok'] else 'NO'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
