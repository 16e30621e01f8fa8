"""The model file that ships with the platform: where it is, whether it is whole, without loading it as a model."""

import functools
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Final

from guardhouse.analysis.injection.model_header import BadArtefactError, read_header
from guardhouse.foundation.start_error import StartError

DATA: Final = files("guardhouse.analysis.injection") / "data"
MODEL: Final = "injection.ghm"
BOUND: Final = (  # a model is only good with the data that it was trained with
    "category_words.json",
    "core.json",
    "function_words.json",
    "lookalikes.json",
    "scrambled_words.json",
    "unicode14.json",
)


class BadModel(StartError):  # noqa: N818 - a sentence for the operator
    """The model file cannot be used; the message names both hashes."""


def shipped_model() -> Path:
    """Return where the model file of this installation is."""
    return Path(str(DATA / MODEL))


def data_digests() -> dict[str, str]:
    """Return the SHA-256 of each data file that a model is bound to, by name."""
    return {name: hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in BOUND}


@functools.cache
def model_sha256(model: Path) -> str:
    """Return the SHA-256 of a model file; read once, a running house does not change it."""
    return hashlib.sha256(model.read_bytes()).hexdigest()


def check_model(model: Path) -> str:
    """Check that a model file is whole and made for the data beside it; return its version.

    Raises:
        BadModel: it is missing, damaged, or made for other data.
    """
    try:
        content = model.read_bytes()
        header, _ = read_header(content, data_digests())
    except (OSError, BadArtefactError) as error:
        raise BadModel(
            f"The detection model {model} cannot be used: {error}. Install Guardhouse again."
        ) from None
    return f"fast-{header['version']}+{hashlib.sha256(content).hexdigest()[:12]}"
