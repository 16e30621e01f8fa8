"""The detection engine alone, on one core: time per text by channel and length. `python bench/detect_engine.py`.

Texts are drawn from ordinary words, marks and a few phrases of attacks; every text is new, so nothing is remembered.
"""

import gc
import json
import random
import time
from importlib.resources import files
from pathlib import Path

from _kit import finish

from guardhouse.detections.judge_texts import verdicts
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.verdict import Ask

ROUNDS, TEXTS = 9, 300
CASES = (  # name, channel, mean length, must p50 in ms
    ("detect_prompt_200", "user", 200, 0.5),
    ("detect_prompt_500", "user", 500, 1.0),
    ("detect_document_1500", "external", 1_500, 2.0),
)
LONGEST = 10_000
BATCH = 100


def words() -> list[str]:
    """Return the words that texts are made of: those that the engine knows and as many that it does not."""
    known = json.loads((files("guardhouse.analysis.injection") / "data" / "function_words.json").read_text())
    draw = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    made = ["".join(draw.choices(letters, k=draw.randint(3, 11))) for _ in range(3_000)]
    return [
        *known["en"] * 20,
        *made,
        "previous",
        "instructions",
        "system",
        "prompt",
        "password",
        "(2026)",
        "—",
    ]


def text(draw: random.Random, vocabulary: list[str], length: int) -> str:
    """Return sentences of about this many code points."""
    found: list[str] = []
    size = 0
    wanted = length * draw.uniform(0.5, 1.5)
    while size < wanted:
        sentence = " ".join(draw.choices(vocabulary, k=draw.randint(4, 18))).capitalize() + draw.choice(
            ".?!\n"
        )
        found.append(sentence)
        size += len(sentence) + 1
    return " ".join(found)


def main() -> None:
    """Measure every case in turns."""
    engine = load_engine(Path(str(files("guardhouse.analysis.injection") / "data" / "injection.ghm")))
    vocabulary = words()
    draw = random.Random(2)
    medians: dict[str, list[float]] = {name: [] for name, *_ in CASES}
    tails: dict[str, list[float]] = {name: [] for name, *_ in CASES}
    single: list[float] = []
    together: list[float] = []
    longest: list[float] = []
    gc.disable()
    for _ in range(ROUNDS):
        for name, channel, length, _must in CASES:
            taken = []
            for _ in range(TEXTS):
                ask = Ask(text(draw, vocabulary, length), channel)
                begun = time.perf_counter()
                verdicts(engine, [ask])
                taken.append((time.perf_counter() - begun) * 1e3)
            taken.sort()
            medians[name].append(taken[len(taken) // 2])
            tails[name].append(taken[int(len(taken) * 0.99)])
        asks = [Ask(text(draw, vocabulary, 200)) for _ in range(BATCH)]
        begun = time.perf_counter()
        for ask in asks:
            verdicts(engine, [ask])
        single.append(BATCH / (time.perf_counter() - begun))
        begun = time.perf_counter()
        verdicts(engine, asks)
        together.append(BATCH / (time.perf_counter() - begun))
        long = Ask(text(draw, vocabulary, 2 * LONGEST)[:LONGEST], "external")
        begun = time.perf_counter()
        verdicts(engine, [long])
        longest.append((time.perf_counter() - begun) * 1e3)
    for name, _channel, _length, must in CASES:
        print(f"{name}: p99 {sorted(tails[name])[ROUNDS // 2]:.2f} ms")
        finish(name, medians[name], [], "ms", on="ours", better="lower", must=must)
    finish("detect_longest_10000", longest, [], "ms", on="ours", better="lower", must=25.0)
    finish(
        "detect_batch_100_against_single", together, single, "texts/s", on="ratio", better="higher", must=1.5
    )


if __name__ == "__main__":
    main()
