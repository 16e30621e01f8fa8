"""Read the model and the rules that ship with the platform, and check that they belong together."""

import hashlib
import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from guardhouse.analysis.injection.artefact import parse
from guardhouse.analysis.injection.rules import compile_pack
from guardhouse.analysis.injection.score import Engine

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


def data_digests() -> dict[str, str]:
    """Return the SHA-256 of each data file that a model is bound to, by name."""
    return {name: hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in BOUND}


def load_engine(model: Traversable | Path) -> Engine:
    """Read an engine.

    Raises:
        BadArtefactError: the file is damaged or was trained with other data; the message names both values.
        BadRuleError: a rule that ships is bad.
        OSError: there is no such file.
    """
    rules = json.loads((DATA / "core.json").read_text(encoding="utf-8"))["rules"]
    return Engine(parse(model.read_bytes(), data_digests()), compile_pack(rules))
