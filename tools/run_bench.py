"""Run every file of ``bench/`` in turn and print what each reached beside what it must and should reach.

Each prints one JSON object as its last line: ``{"bench","ours","anchor","ratio","unit","must","goal","ok"}``.
The table is written to ``out/bench/bench.md`` and ``bench.json`` as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from long_step import OUT, ROOT, bad, good

TIMEOUT_SECONDS = 900
COLUMNS = ("bench", "ours", "anchor", "ratio", "unit", "must", "goal")


def main() -> int:
    """Run the benches named by the arguments, or all; returns 1 when one missed what it must reach."""
    named = set(sys.argv[1:])
    files = sorted(path for path in (ROOT / "bench").rglob("*.py") if not path.name.startswith("_"))
    chosen = [path for path in files if not named or path.stem in named]
    rows = [row for row in map(_run, chosen) if row is not None]
    table = _table(rows)
    folder = OUT / "bench"
    (folder / "bench.md").write_text(table, encoding="utf-8")
    (folder / "bench.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table, end="")
    return 0 if rows and len(rows) == len(chosen) and all(row["ok"] for row in rows) else 1


def _run(path: Path) -> dict[str, object] | None:
    """Run one bench and return its last line's object; None when it has none."""
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
            return None
    lines = log.read_text(encoding="utf-8").strip().splitlines() or [""]
    try:
        row: dict[str, object] = json.loads(lines[-1])
    except ValueError:
        print(f"{bad()} {name} printed no result: {lines[-1][:200]} (log: {log})")
        return None
    print(f"{good() if row.get('ok') else bad()} {name} ({time.monotonic() - begun:.0f} s)", flush=True)
    return {**dict.fromkeys(COLUMNS), "ok": False, **row}


def _table(rows: list[dict[str, object]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} | ok |", "|" + "---|" * (len(COLUMNS) + 1)]
    for row in rows:
        cells = ["-" if row[name] is None else str(row[name]) for name in COLUMNS]
        lines.append(f"| {' | '.join(cells)} | {'yes' if row['ok'] else 'NO'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
