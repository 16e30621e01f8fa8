"""A model of noise in a file: engine processes load it as they load a trained one."""

from pathlib import Path

import numpy as np
import pytest

from guardhouse.analysis.injection.artefact import pack
from guardhouse.analysis.injection.features import BUCKETS
from guardhouse.analysis.injection.head import Head
from guardhouse.analysis.injection.normalise import VERSION
from guardhouse.detections.load_engine import data_digests

KNOTS = [-2000, -1000, 0, 1000, 2000, 3000, 4000, 6000]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    noise = np.random.default_rng(1)
    heads = {
        name: Head(noise.integers(-32767, 32768, BUCKETS).astype(np.int16), -0.25, 1e-4, 5e-5)
        for name in ("user", "external")
    }
    header = {
        "version": "0.0.1",
        "normaliser": VERSION,
        "data": data_digests(),
        "calibration": {"user": [KNOTS] * 5, "external": [KNOTS] * 4},
    }
    path = tmp_path_factory.mktemp("model") / "noise.ghm"
    path.write_bytes(pack(header, heads))
    return path
