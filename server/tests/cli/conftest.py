"""Fixtures for tests that start the product's own processes."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.tests.cli.house_process import RunningHouse, running_house


@contextlib.contextmanager
def _reachable_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="guardhouse-cli-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that an unprivileged user can reach, unlike pytest's own."""
    with _reachable_folder() as path:
        yield path


@pytest.fixture(scope="session")
def house() -> Iterator[RunningHouse]:
    """Yield a running house that tests share; whoever breaks it waits until it has recovered."""
    with _reachable_folder() as path, running_house(path / "house", "--port", "0") as running:
        yield running
