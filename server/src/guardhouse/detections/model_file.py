"""Which model file this installation has, without reading it as a model."""

import functools
import hashlib
from pathlib import Path


@functools.cache
def model_sha256(model: Path) -> str:
    """Return the SHA-256 of a model file; read once, a running house does not change it."""
    return hashlib.sha256(model.read_bytes()).hexdigest()
