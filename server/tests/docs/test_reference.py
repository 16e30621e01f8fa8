import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "tools" / "write_reference.py"


@pytest.mark.parametrize("page", ["problems.md", "settings.md", "roles.md"])
def test_the_reference_says_what_the_code_says(page: str) -> None:
    found = importlib.util.spec_from_file_location("write_reference", SCRIPT)
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    written = (script.FOLDER / page).read_text(encoding="utf-8")
    assert written == script.pages()[page], "run: python tools/write_reference.py"
