"""How well texts of sources never seen in training are told apart, beside two simple detectors in the same run.

``python bench/detect_quality.py`` leaves one source out at a time, then each family and language of the generator and
each kind of disguise, and judges as the server does; it needs the development data and ``train/requirements.txt``
(``make train`` installs them) and writes ``docs/reference/detection-quality.md``. ``--quick`` runs the source folds
with half of the generated texts and writes to ``out/bench`` only. ``--data FOLDER`` trains nothing: it judges every
set below the folder, ``<set>/data.jsonl`` with ``text``, ``label`` (1 is an attack) and ``channel`` per line, by the
model that ships and its fixed thresholds.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from _kit import finish  # noqa: E402 - train/ is no installed package, so its folder is named first

from guardhouse.analysis.injection.rules import compile_pack  # noqa: E402 - as above
from guardhouse.detections.load_engine import load_engine  # noqa: E402 - as above
from guardhouse.detections.model_file import DATA, MODEL  # noqa: E402 - as above

SEED = "20261101"
TRIED, TRIED_QUICK = 1_000, 400
OUT = ROOT / "out" / "bench"
PAGE = ROOT / "docs" / "reference" / "detection-quality.md"


def main() -> None:
    """Judge the sets of a folder, or run the folds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="source folds only, fewer texts")
    parser.add_argument("--data", type=Path, help="folder of labelled sets for the model that ships")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.data:
        _judge_sets(asked.data)
    else:
        _run_folds(quick=asked.quick, processes=asked.processes)


def _judge_sets(folder: Path) -> None:
    from _quality_sets import judge_sets, said  # noqa: PLC0415 - needs nothing that only training has

    found = judge_sets(load_engine(Path(str(DATA / MODEL))), folder)
    print(said(found))
    for channel in ("user", "external"):
        of_channel = [one for one in found if one.channel == channel]
        if of_channel:
            ours = sum(one.accuracy for one in of_channel) / len(of_channel)
            anchor = sum(one.anchor_accuracy for one in of_channel) / len(of_channel)
            finish(f"detect_sets_{channel}", [ours], [anchor], "mean accuracy", must=0, on="ours")


def _run_folds(*, quick: bool, processes: int) -> None:
    folder = data_folder()
    try:
        import sklearn  # noqa: F401, PLC0415 - only asks whether it is there
    except ImportError:
        _skip("scikit-learn is not installed: pip install --require-hashes -r train/requirements.txt")
        return
    if folder is None:
        _skip("no development data beside the repository and no GUARDHOUSE_SHARED_DATA")
        return
    import _quality_folds as folds  # noqa: PLC0415 - needs scikit-learn
    import _quality_page as page  # noqa: PLC0415 - as above

    from train.fit import Hasher  # noqa: PLC0415 - as above
    from train.generator.generate import Counts  # noqa: PLC0415 - as above
    from train.read_sets import read_sets  # noqa: PLC0415 - as above
    from train.try_folds import Setting  # noqa: PLC0415 - as above

    pack = compile_pack(json.loads((DATA / "core.json").read_text(encoding="utf-8"))["rules"])
    counts = Counts().divided(2) if quick else Counts()
    setting = Setting(read_sets(folder).rows, pack, SEED, counts, TRIED_QUICK if quick else TRIED, Hasher())
    wanted = folds.plan(quick=quick)
    if not quick:
        folds.prepare(setting)
    with ProcessPoolExecutor(
        processes, mp_context=get_context("fork"), initializer=_share, initargs=(setting,)
    ) as pool:
        found = list(pool.map(_run, wanted))
    text = page.written(found, quick=quick)
    place = OUT / "detect_quality.md" if quick else PAGE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    print(text)
    for line in page.last_lines(found):
        finish(*line.figure, must=line.must, goal=line.goal, on="ours", better=line.better)


_shared = {}


def _share(setting: object) -> None:
    _shared["setting"] = setting


def _run(wanted: tuple[str, str]) -> object:
    import _quality_folds as folds  # noqa: PLC0415 - needs scikit-learn

    found = folds.run(_shared["setting"], *wanted)
    print(f"{wanted[0]}: {wanted[1]}", file=sys.stderr, flush=True)
    return found


def _skip(why: str) -> None:
    print(f"not measured: {why}")
    print(json.dumps({"bench": "detect_quality", "ours": None, "ok": None, "unit": why}))


def data_folder() -> Path | None:
    """Where the training sets lie, None where they do not."""
    named = os.environ.get("GUARDHOUSE_SHARED_DATA")
    places = [Path(named)] if named else [ROOT.parent / "shared/data", ROOT.parents[1] / "shared/data"]
    return next(
        (place / "prompt_injection" for place in places if (place / "prompt_injection").is_dir()), None
    )


if __name__ == "__main__":
    main()
