"""What a test needs beyond Python: absent, the test skips with a remedy, or fails where all must run."""

import os
import shutil

import pytest

REQUIRE_ALL = "GUARDHOUSE_REQUIRE_ALL"


def require(present: object, remedy: str) -> None:
    """Skip the test with ``remedy`` unless ``present``; fail it under ``GUARDHOUSE_REQUIRE_ALL=1``."""
    if present:
        return
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(remedy)
    pytest.skip(remedy)


def require_program(name: str, remedy: str) -> str:
    """Return the path of a program on PATH, or skip or fail as :func:`require` does."""
    found = shutil.which(name)
    require(found, f"{name} is not installed: {remedy}")
    return str(found)
