import json
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import pytest

from guardhouse.analysis.injection.artefact import Model, pack, parse
from guardhouse.analysis.injection.features import BUCKETS
from guardhouse.analysis.injection.head import Head
from guardhouse.analysis.injection.normalise import VERSION
from guardhouse.analysis.injection.rules import compile_pack
from guardhouse.analysis.injection.score import Engine

DATA = {"core.json": "a" * 64}
KNOTS = [-2000, -1000, 0, 1000, 2000, 3000, 4000, 6000]


def random_model(data: Mapping[str, str]) -> bytes:
    """A model file of noise bound to these digests: all but the meaning of its scores is as in a trained one."""
    noise = np.random.default_rng(1)
    heads = {
        name: Head(noise.integers(-32767, 32768, BUCKETS).astype(np.int16), -0.25, 1e-4, 5e-5)
        for name in ("user", "external")
    }
    header = {
        "version": "0.0.1",
        "normaliser": VERSION,
        "data": dict(data),
        "calibration": {"user": [KNOTS] * 5, "external": [KNOTS] * 4},
    }
    return pack(header, heads)


@pytest.fixture(scope="session")
def model() -> Model:
    return parse(random_model(DATA), DATA)


@pytest.fixture(scope="session")
def engine(model: Model) -> Engine:
    core = (files("guardhouse.analysis.injection") / "data" / "core.json").read_text(encoding="utf-8")
    return Engine(model, compile_pack(json.loads(core)["rules"]))
