"""Rebuild the detection model with one command, from the seven training sets and the generator.

``python -m train.injection --data ../shared/data/prompt_injection --seed 20261101`` reads the sets, tries every fold,
calibrates on what the folds said of texts they had not seen, fits both heads on everything, and writes the model, its
card, the golden vectors and ``out/train/report.json``. Equal arguments on the same platform with the same libraries
give the same bytes. ``--quick`` generates and tries less and writes to ``out/train`` only.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from guardhouse.analysis.injection.rules import compile_pack
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.model_file import DATA, MODEL
from train.calibrate import knots
from train.fit import Hasher
from train.folds import FOLDS, Fold
from train.generator.generate import Counts
from train.read_sets import WrongDataError, read_sets
from train.results import calibration_for, results
from train.row import EXTERNAL, USER
from train.try_folds import Setting, Tried, train_head, try_fold
from train.write_artefact import artefact
from train.write_card import card
from train.write_golden import golden, written

ROOT: Final = Path(__file__).parents[1]
OUT: Final = ROOT / "out" / "train"
VECTORS: Final = ROOT / "contract" / "vectors" / "injection.json"
CARD: Final = ROOT / "docs" / "reference" / "injection-model.md"
_TRIED, _TRIED_QUICK = 1_000, 500
_QUICK: Final = 4  # the generator makes a quarter

_shared: dict[str, Setting] = {}  # what a process of the pool inherits


def main() -> int:
    """Train as the arguments say; 2 for data that must not or cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m train.injection", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the seven sets")
    parser.add_argument("--seed", default="20261101", help="seed of the generator and of all draws")
    parser.add_argument(
        "--quick", action="store_true", help="less of everything; leaves the committed model alone"
    )
    parser.add_argument("--processes", type=int, default=2, help="folds tried at once")
    asked = parser.parse_args()
    try:
        sets = read_sets(asked.data)
    except (WrongDataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    counts = Counts().divided(_QUICK) if asked.quick else Counts()
    pack = compile_pack(json.loads((DATA / "core.json").read_text(encoding="utf-8"))["rules"])
    setting = Setting(sets.rows, pack, asked.seed, counts, _TRIED_QUICK if asked.quick else _TRIED, Hasher())
    heads = {channel: train_head(setting, sets.rows, channel) for channel in (USER, EXTERNAL)}
    # after the heads: the processes inherit what was read and hashed for them
    tried = _try_all(setting, asked.processes)
    measured = {c: results(tried, c, intervals=not asked.quick) for c in (USER, EXTERNAL)}
    training: dict[str, Any] = {
        "sets": sets.record,
        "seed": asked.seed,
        "quick": asked.quick,
        "results": measured,
    }
    content = artefact(
        heads,
        {channel: knots(calibration_for(tried, channel), channel) for channel in (USER, EXTERNAL)},
        training,
    )
    _write(content, training, quick=asked.quick)
    return 0


def _try_all(setting: Setting, processes: int) -> list[Tried]:
    """Try every fold, each in a process that inherits the setting; the order of the answers is that of the folds."""
    _shared["setting"] = setting
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        return list(pool.map(_try, FOLDS))


def _try(fold: Fold) -> Tried:
    begun = time.monotonic()
    tried = try_fold(fold, _shared["setting"])
    print(f"{fold.name}: {len(tried.plain)} texts, {time.monotonic() - begun:.0f} s", flush=True)
    return tried


def _write(content: bytes, training: dict[str, Any], *, quick: bool) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    place = OUT / MODEL if quick else Path(str(DATA / MODEL))
    place.write_bytes(content)
    engine = load_engine(place)
    model = engine.model
    report = {"version": model.version, "sha256": model.sha256, **training}
    (OUT / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (OUT / CARD.name if quick else CARD).write_text(card(model), encoding="utf-8")
    (OUT / VECTORS.name if quick else VECTORS).write_text(written(golden(engine)), encoding="utf-8")
    print(f"{place}: {model.version}, {len(content)} bytes")
    for line in _figures(training["results"]):
        print(line)


def _figures(measured: dict[str, Any]) -> Sequence[str]:
    return [
        f"{channel}: AUROC {found['auroc']}, recall {found['recall']}, with trigger words {found['triggered']}"
        for channel, found in measured.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
