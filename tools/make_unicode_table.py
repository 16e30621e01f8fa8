"""Write the table of code points that Unicode 14.0 does not assign; run with Python 3.11, whose data is 14.0."""

import json
import sys
import unicodedata
from pathlib import Path

TABLE = Path(__file__).parents[1] / "server/src/guardhouse/analysis/injection/data/unicode14.json"
VERSION = "14.0.0"


def main() -> int:
    """Write the table; refuse a Python with other Unicode data."""
    if unicodedata.unidata_version != VERSION:
        print(f"This Python has Unicode {unicodedata.unidata_version}; the table needs {VERSION}.")
        return 1
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) != "Cn":
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    TABLE.write_text(
        json.dumps({"version": VERSION, "unassigned": ranges}, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
