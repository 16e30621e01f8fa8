"""Other distributions that own the same package are noticed, and mixed folders are refused."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from guard_agent import clash


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(clash.ALLOW, raising=False)
    package = tmp_path / "guard_agent"
    package.mkdir()
    for name in clash.SHARED_MODULES:
        (package / f"{name}.py").write_text(f"{clash.MARK}\n")
    return tmp_path


def test_alone_there_is_nothing_to_say(site: Path) -> None:
    (site / "guardhouse_agent-0.1.0.dist-info").mkdir()
    (site / "guard_core-4.4.0.dist-info").mkdir()
    assert clash.check_folder(site / "guard_agent", [str(site), "/no/such/folder"]) is None


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("guard_agent-3.2.4.dist-info", "guard-agent 3.2.4"),
        ("Guard_Agent-2.10.0.dist-info", "guard-agent 2.10.0"),
        ("fastapi_guard_agent-1.1.1.dist-info", "fastapi-guard-agent 1.1.1"),
        ("fastapi_guard_agent-1.2.0.dist-info", None),
        ("fastapi_guard_agent-2.0.dist-info", None),
    ],
)
def test_another_owner_of_the_package_is_a_warning(
    site: Path, folder: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / folder).mkdir()
    if found is None:
        assert clash.check_folder(site / "guard_agent", []) is None
        return
    with pytest.warns(RuntimeWarning, match="pip uninstall -y guard-agent") as told:
        assert clash.check_folder(site / "guard_agent", []) == found
    assert len(told) == 1
    monkeypatch.setenv(clash.ALLOW, "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clash.check_folder(site / "guard_agent", []) == found


def test_modules_of_two_distributions_are_an_error_even_where_a_clash_is_allowed(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(clash.ALLOW, "1")
    (site / "guard_agent" / "buffer.py").write_text('"""Of another."""\n')
    with pytest.raises(ImportError, match=r"not ours: buffer\).*force-reinstall"):
        clash.check_folder(site / "guard_agent", [])


def test_importing_the_package_warns_once_and_keeps_the_fact(tmp_path: Path) -> None:
    (tmp_path / "guard_agent-3.2.4.dist-info").mkdir()
    code = "import guard_agent, guard_agent.models; print(guard_agent.CLASH)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert told.stdout.strip() == "guard-agent 3.2.4"
    assert told.stderr.count("RuntimeWarning") == 1
