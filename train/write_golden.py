"""Golden vectors of the engine: texts of this project with what every machine must make of them.

The texts are no one's data set and in no training; ``golden_texts.json`` holds them.
"""

import json
from pathlib import Path
from typing import Any, Final

from guardhouse.analysis.injection.features import BUCKETS, buckets
from guardhouse.analysis.injection.normalise import VERSION, normalise
from guardhouse.analysis.injection.score import Engine, Question, judge

TEXTS: Final = Path(__file__).with_name("golden_texts.json")
_WITH_BUCKETS: Final = 20
_LONGEST_WITH_BUCKETS: Final = 60  # code points; the lists of longer texts say nothing more
_ABOUT: Final = (
    "What the fast tier makes of these texts, the same on every machine. score_milli: score in thousandths, with the "
    "shipped rules; buckets: the distinct features of the text as it stands, ascending, below 2^18 of characters, from "
    "there of words; normaliser: every reading, and for each of its code points the stretch [start, end) of the text "
    "as sent (null where the reading is that text)."
)


def golden(engine: Engine) -> dict[str, Any]:
    """Return the content of ``contract/vectors/injection.json`` for an engine."""
    said: dict[str, list[Any]] = json.loads(TEXTS.read_text(encoding="utf-8"))
    cases = said.pop("normaliser")
    texts = [
        {"channel": kind.split("_")[0], "attack": kind.endswith("attacks"), "text": text}
        for kind, some in said.items()
        for text in some
    ]
    judgements = judge(engine, [Question(one["text"], one["channel"]) for one in texts])
    short = [one["text"] for one in texts if len(one["text"]) <= _LONGEST_WITH_BUCKETS]
    chosen = set(short[:: max(len(short) // _WITH_BUCKETS, 1)][:_WITH_BUCKETS])
    for one, judgement in zip(texts, judgements, strict=True):
        one["score_milli"] = judgement.score_milli
        if one["text"] in chosen:
            one["buckets"] = [int(key) % BUCKETS for key in buckets([one["text"]]).keys]
    return {
        "description": _ABOUT,
        "engine": engine.model.version,
        "normaliser_version": VERSION,
        "texts": texts,
        "normaliser": [_read(**case) for case in cases],
    }


def written(content: dict[str, Any]) -> str:
    """Return the vectors as JSON, one text to a line, in ASCII: hidden characters are what many of them are about."""
    head = {name: value for name, value in content.items() if not isinstance(value, list)}
    parts = [json.dumps(head, indent=1)[:-2]]
    for name, rows in content.items():
        if isinstance(rows, list):
            parts.append(f' "{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]")
    return ",\n".join(parts) + "\n}\n"


def _read(text: str, channel: str) -> dict[str, Any]:
    found = normalise(text, external=channel == "external")
    return {
        "text": text,
        "channel": channel,
        "flags": list(found.flags),
        "readings": [
            {
                "kind": view.kind,
                "text": view.reading.text,
                "starts": None if view.reading.starts is None else list(view.reading.starts),
                "ends": None if view.reading.ends is None else list(view.reading.ends),
            }
            for view in found.views
        ],
    }
