"""Read the model and the rules that ship with the platform, and check that they belong together."""

import json
from importlib.resources.abc import Traversable
from pathlib import Path

from guardhouse.analysis.injection.artefact import parse
from guardhouse.analysis.injection.rules import compile_pack
from guardhouse.analysis.injection.score import Engine
from guardhouse.detections.model_file import DATA, data_digests


def load_engine(model: Traversable | Path) -> Engine:
    """Read an engine.

    Raises:
        BadArtefactError: the file is damaged or was trained with other data; the message names both values.
        BadRuleError: a rule that ships is bad.
        OSError: there is no such file.
    """
    rules = json.loads((DATA / "core.json").read_text(encoding="utf-8"))["rules"]
    return Engine(parse(model.read_bytes(), data_digests()), compile_pack(rules))
