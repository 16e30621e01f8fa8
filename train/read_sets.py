"""The seven training sets and no others: each known by its SHA-256, and each row's family by where it came from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from train.near_duplicates import merged
from train.row import Row

IN_THE_WILD: Final = "in_the_wild"
BIPIA: Final = "bipia"
BIPIA_RAW: Final = "bipia_raw"
_KNOWN: Final = Path(__file__).with_name("sets.json")
SELF_INSTRUCT: Final = "self_instruct"
PROSE: Final = {  # the public sets that prompts of self_instruct_t0 were made from, by what their passages are
    "reviews": ("imdb", "amazon", "yelp", "app", "rotten"),
    "news": ("cnn", "multi", "xsum", "ag", "samsum", "dream", "gigaword"),
}
_WILD: Final = ("jackhhao_jailbreak", "garak", "pallms_injection")
_ROWS: Final = "data.jsonl"


class WrongDataError(ValueError):
    """The data folder holds a set that is not ours to train on, lacks one, or one was changed; says which."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The rows of all sets, and what the record of a training says about each set."""

    rows: list[Row]
    record: dict[str, dict[str, Any]]


def known_sets() -> Mapping[str, Mapping[str, str]]:
    """Return name, SHA-256 and licence of each set that may be read."""
    found: dict[str, dict[str, str]] = json.loads(_KNOWN.read_text("utf-8"))
    return found


def read_sets(folder: Path) -> Sets:
    """Read every set below ``folder``; each is a folder with ``data.jsonl``.

    Near duplicates among attacks in the wild are merged, exact duplicates everywhere.

    Raises:
        WrongDataError: A folder is none of the seven, one is missing, or its rows have another SHA-256.
    """
    known = known_sets()
    present = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    if strangers := sorted(present - set(known)):
        raise WrongDataError(f"{folder} holds {', '.join(strangers)}: training reads {', '.join(known)} only")
    if missing := sorted(set(known) - present):
        raise WrongDataError(f"{folder} lacks {', '.join(missing)}")
    rows: list[Row] = []
    record: dict[str, dict[str, Any]] = {}
    for name, about in known.items():
        content = (folder / name / _ROWS).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != about["sha256"]:
            raise WrongDataError(f"{name} has SHA-256 {digest}, expected {about['sha256']}")
        found = [_row(name, json.loads(line)) for line in content.splitlines()]
        record[name] = {"sha256": digest, "rows": len(found), "licence": about["licence"]}
        rows += found
    return Sets(_without_duplicates(rows), record)


def _row(source: str, said: Mapping[str, Any]) -> Row:
    detail = said["category"] or ""
    return Row(
        text=said["text"],
        label=said["label"],
        channel=said["channel"],
        family=_family(source, said["label"], detail),
        lang=said["lang"] or "",
        source=source,
        detail=detail,
    )


def _family(source: str, label: int, detail: str) -> str:
    if source == "bipia_train":
        return f"{BIPIA}_{detail.split('|', maxsplit=1)[0]}"
    if source == "self_instruct_t0":
        made_from = detail.split("_", maxsplit=1)[0]
        kind = next((kind for kind, names in PROSE.items() if made_from in names), "reading")
        return f"{SELF_INSTRUCT}_{kind}"
    if source in _WILD:
        return IN_THE_WILD if label else source
    return source


def _without_duplicates(rows: list[Row]) -> list[Row]:
    wild = [row for row in rows if row.family == IN_THE_WILD]
    others = {(row.text, row.label, row.channel): row for row in rows if row.family != IN_THE_WILD}
    return [*merged(wild), *others.values()]
