"""The packs of this installation: found by entry point, checked once, by name."""

import hashlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.start_error import StartError
from guardhouse.runs.pack import Pack

GROUP: Final = "guardhouse.packs"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class BadPack(StartError):  # noqa: N818 - a sentence for the operator
    """An installed pack cannot be used; the message says which and why."""


class UnknownPack(Problem):
    """There is no pack of this name here."""

    status, code, title = 422, "unknown_pack", "Unknown pack"
    remediation = (
        "Use one of the names in `packs`; GET /api/v1/packs shows them with their inputs and prices."
    )


@dataclass(frozen=True, slots=True)
class Installed:
    """A pack with where it comes from."""

    pack: Pack
    distribution: str
    distribution_version: str
    source_sha256: str


@cache
def packs() -> Mapping[str, Installed]:
    """Return every installed pack by name.

    Raises:
        BadPack: two have one name, or one is not what a pack is.
    """
    found: dict[str, Installed] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        installed = _load(point)
        if installed.pack.name in found:
            other = found[installed.pack.name].distribution
            raise BadPack(
                f"Two packs are named {installed.pack.name}: of {other} and of {installed.distribution}."
            )
        found[installed.pack.name] = installed
    return found


def _load(point: EntryPoint) -> Installed:
    try:
        pack = point.load()()
    except Exception as error:
        raise BadPack(f"The pack {point.name} ({point.value}) cannot be loaded: {error}.") from error
    problem = _fault(pack)
    if problem is not None:
        raise BadPack(f"The pack {point.name} ({point.value}) {problem}.")
    source = Path(inspect.getfile(type(pack)))
    distribution = point.dist
    return Installed(
        pack,
        distribution.name if distribution else "unknown",
        distribution.version if distribution else "0",
        hashlib.sha256(source.read_bytes()).hexdigest(),
    )


def _fault(pack: Any) -> str | None:
    """Say what keeps an object from being a pack."""
    for name in ("name", "version", "summary", "inputs", "output", "timebox", "max_attempts", "price"):
        if not hasattr(pack, name):
            return f"has no {name}"
    if not _NAME.fullmatch(pack.name):
        return f"has the name {pack.name!r}, which is not lower case letters, digits and underscores"
    for name in ("inputs", "output"):
        model = getattr(pack, name)
        if not (inspect.isclass(model) and issubclass(model, BaseModel)):
            return f"has {name} that is no Pydantic model"
        try:
            model.model_json_schema()
        except Exception as error:  # noqa: BLE001 - whatever a model of others raises
            return f"has {name} without a JSON Schema: {error}"
    return None


def pack_named(name: str) -> Installed:
    """Return a pack to submit to.

    Raises:
        UnknownPack: there is none of this name.
    """
    found = packs().get(name)
    if found is None:
        raise UnknownPack(
            f"There is no pack named {name[:64]!r}.",
            errors=[{"pointer": "/pack_type", "code": "unknown_pack", "detail": "is no pack here"}],
            packs=sorted(packs()),
        )
    return found


def find_pack(name: str) -> Installed:
    """Return a pack to show.

    Raises:
        NotFound: there is none of this name.
    """
    found = packs().get(name)
    if found is None:
        raise NotFound("There is no such pack.")
    return found
