"""The model file and what stands in its header about where it came from."""

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from guardhouse.analysis.injection.artefact import pack
from guardhouse.analysis.injection.head import Head
from guardhouse.analysis.injection.normalise import VERSION as NORMALISER
from guardhouse.detections.model_file import data_digests
from train.generator.generate import VERSION as GENERATOR

ENGINE_VERSION: Final = "1.0.0"
_FOLDER: Final = Path(__file__).parent
_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn")


def artefact(heads: Mapping[str, Head], knots: Mapping[str, Any], training: Mapping[str, Any]) -> bytes:
    """Return the bytes of the model file.

    Args:
        heads: The two heads by channel.
        knots: Per channel the knots of each band, logit milli.
        training: The record of the training: sets, seed, results; libraries and the scripts' hash are added here.
    """
    record = {
        **training,
        "generator": GENERATOR,
        "script_sha256": script_sha256(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
    header = {
        "version": ENGINE_VERSION,
        "normaliser": NORMALISER,
        "data": data_digests(),
        "calibration": dict(knots),
        "training": record,
    }
    return pack(header, dict(heads))


def script_sha256() -> str:
    """Return one SHA-256 over the names and contents of everything in ``train/`` that decides the result."""
    digest = hashlib.sha256()
    paths = [p for p in _FOLDER.rglob("*") if p.suffix in {".py", ".json"} and "tests" not in p.parts]
    for path in sorted(paths, key=lambda path: path.relative_to(_FOLDER).as_posix()):
        digest.update(path.relative_to(_FOLDER).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
