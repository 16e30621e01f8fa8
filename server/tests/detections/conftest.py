"""A model of noise in a file: engine processes load it as they load a trained one."""

from pathlib import Path

import pytest

from guardhouse.detections.model_file import data_digests
from server.tests.analysis.injection.conftest import random_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "noise.ghm"
    path.write_bytes(random_model(data_digests()))
    return path
