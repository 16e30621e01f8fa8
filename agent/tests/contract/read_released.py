"""Write `released.json` again: the public facts of the released package, read by importing it.

    python agent/tests/contract/read_released.py [PYTHON]

PYTHON is an interpreter that has `guard-agent` in the version below; without one, the package is installed from the
package index into an environment of its own in a temporary folder. Ours and it cannot share one environment.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "released.json"
VERSION = "3.2.4"
_SAY = "import json, describe_api; print(json.dumps(describe_api.describe_package()))"


def main() -> None:
    """Read the facts and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        python = sys.argv[1] if len(sys.argv) > 1 else _install(Path(folder))
        told = subprocess.run([python, "-c", _SAY], cwd=HERE, check=True, capture_output=True, text=True)
    facts = json.loads(told.stdout)
    if facts["version"] != VERSION:
        sys.exit(f"{python} has guard-agent {facts['version']}, not {VERSION}")
    TABLE.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{TABLE.name}: {sum(map(len, facts['modules'].values()))} names of {facts['version']}")


def _install(folder: Path) -> str:
    venv.EnvBuilder(with_pip=True).create(folder)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"guard-agent[all]=={VERSION}"], check=True)
    return python


if __name__ == "__main__":
    main()
