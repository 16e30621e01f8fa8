"""Detection quality of the anomaly engine on the development data, beside the first product's NCD rule.

Run with the shared development data next to the repository (`../shared/data/anomaly`, or GUARDHOUSE_SHARED_DATA);
where it is absent the bench says so and its last line has `"ok": null`. With `--file FILE` it works on any file of
lines or NDJSON (`text` or a record, `label` 1 for anomalous, optional): a part to fit, a part to calibrate, the rest
to test. One set of defaults serves every file.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _anomaly import (
    auprc,
    auroc,
    best_f1,
    counted,
    data_folder,
    drawn,
    events_of,
    shares,
    streamed,
)

from guardhouse.analysis.anomaly.coder import Coder
from guardhouse.analysis.anomaly.config import PROFILES, Config
from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.glassbox import Compressor
from guardhouse.analysis.anomaly.mask import Masker, choose_mask
from guardhouse.analysis.anomaly.splitmix import uniform, values
from guardhouse.analysis.anomaly.tail import surprise_of
from guardhouse.analysis.anomaly.warmup import MOST_WEIGHT

BALANCED = PROFILES["balanced"]
AT_P = surprise_of(0.01)
Checks = dict[str, bool]


def show(title: str, **numbers: float) -> None:
    """One line of the table."""
    said = "  ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in numbers.items()
    )
    print(f"  {title:<52} {said}")


def apart(
    title: str, normal: Sequence[Any], bad: Sequence[Any], sizes: tuple[int, int, int]
) -> dict[str, float]:
    """Fit, calibrate, test: our engine, then the plain NCD of each item against 100 fitted ones."""
    fit, calibrate, test = sizes
    held = events_of([*normal[: fit + calibrate + test], *bad])
    engine = Engine.fitted(1, BALANCED, held[:fit], held[fit : fit + calibrate])
    asked = held[fit + calibrate :]
    labels = [0] * (len(asked) - len(bad)) + [1] * len(bad)
    found = [engine.detect(asked[begin : begin + 500]) for begin in range(0, len(asked), 500)]
    surprise = np.concatenate([one.surprise for one in found])
    bits = np.concatenate([one.milli_bits for one in found])
    ranked = surprise + bits / (1 + bits.max()) * (surprise >= surprise.max())
    at_p = counted(surprise >= AT_P, labels)
    numbers = {
        "AUROC": auroc(ranked, labels),
        "AUPRC": auprc(ranked, labels),
        "bestF1": best_f1(ranked, labels),
        "F1": at_p.f1,
        "recall": at_p.recall,
        "FPR": at_p.false_rate,
    }
    show(f"{title}: ours", **numbers)
    lines = [as_line(one) for one in [*normal[: fit + calibrate + test], *bad]]
    distance = ncd_scores(lines[:100], lines[fit + calibrate :])
    show(f"{title}: plain NCD", AUROC=auroc(distance, labels), bestF1=best_f1(distance, labels))
    sizes_only = [float(len(line)) for line in lines[fit + calibrate :]]
    show(f"{title}: length alone", AUROC=auroc(sizes_only, labels), bestF1=best_f1(sizes_only, labels))
    return numbers


def as_line(content: Any) -> bytes:
    """An item as the first product saw it."""
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def ncd_scores(baseline: Sequence[bytes], asked: Sequence[bytes]) -> list[float]:
    """The normalised compression distance of each item to the baseline."""
    compressor = Compressor()
    own = compressor.length(tuple(baseline))
    found = []
    for line in asked:
        alone, both = compressor.length((line,)), compressor.length((*baseline, line))
        found.append((both - min(own, alone)) / max(own, alone))
    return found


def http_params(folder: Path) -> Checks:
    """HTTP parameter values: fit 2000, calibrate 2000, test 5000 + 1000; then as live streams."""
    with (folder / "http-params" / "payload_full.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    normal = drawn([row["payload"] for row in rows if row["label"] == "norm"], 1)
    attacks = drawn([row["payload"] for row in rows if row["label"] != "norm"], 2)
    got = apart("HTTP parameters", normal, attacks[:1000], (2000, 2000, 5000))
    checks = {
        "HTTP: AUROC >= .9995": got["AUROC"] >= 0.9995,
        "HTTP: F1 >= .97 at p <= .01": got["F1"] >= 0.97,
        "HTTP: AUPRC >= .995": got["AUPRC"] >= 0.995,
        "HTTP: FPR <= .015 at p <= .01": got["FPR"] <= 0.015,
    }
    warm = Config(warmup_events=2000)
    for rate, recall, precision in (
        (0.0, 0.0, 0.0),
        (0.01, 0.90, 0.85),
        (0.05, 0.92, 0.95),
        (0.1, 0.9, 0.95),
    ):
        found, false, bad = 0, 0, 0
        for seed in (1, 2, 3):
            contents, labels = mixed(drawn(normal, seed), drawn(attacks, seed), rate, seed)
            out = streamed(events_of(contents), warm)
            one = counted(out.candidate[2000:], labels[2000:])
            found, false, bad = found + one.found, false + one.false, bad + one.bad
        show(f"HTTP live, {rate:.0%} attacks, 3 streams", found=found, of=bad, false=false)
        name = f"HTTP live {rate:.0%}"
        if rate:
            checks[f"{name}: recall >= {recall}"] = found >= recall * bad
            checks[f"{name}: precision >= {precision}"] = found >= precision * (found + false)
        else:
            checks[f"{name}: <= 5 false in 8000"] = false <= 15
            for alpha, share in shares(out.surprise, (0.1, 0.05, 0.01)).items():
                show(f"HTTP live, share of p <= {alpha}", share=share)
    return checks


def mixed(normal: list[str], attacks: list[str], rate: float, seed: int) -> tuple[list[str], list[int]]:
    """2000 normal ones, then 8000 of which about ``rate`` are attacks."""
    contents, labels = normal[:2000], [0] * 2000
    next_normal, next_attack = 2000, 0
    for draw in uniform(seed, 0, 8000):
        if draw < rate:
            contents.append(attacks[next_attack])
            next_attack += 1
        else:
            contents.append(normal[next_normal])
            next_normal += 1
        labels.append(int(draw < rate))
    return contents, labels


def transactions(folder: Path) -> Checks:
    """500 normal transactions, then 1000 mixed ones, 100 anomalous ones, or nothing else."""
    read = {
        name: [json.loads(line) for line in (folder / "driftlock" / f"{name}-transactions.jsonl").open()]
        for name in ("normal", "mixed", "anomalous")
    }
    labels = [int("anomalous" in one["user_id"]) for one in read["mixed"]]
    out = streamed(events_of(read["normal"] + read["mixed"]), BALANCED)
    mix = counted(out.candidate[500:], labels)
    show("transactions, 1000 mixed", found=mix.found, of=mix.bad, false=mix.false, incidents=out.incidents)
    out = streamed(events_of(read["normal"] + read["anomalous"]), BALANCED)
    told = int(out.candidate[500:].sum())
    show("transactions, 100 anomalous", found=told, of=100)
    out = streamed(events_of(read["normal"]), BALANCED)
    alone = int(out.candidate.sum())
    show("transactions, normal alone", false=alone)
    odd = [one for one, bad in zip(read["mixed"], labels, strict=True) if bad]
    plain = [one for one, bad in zip(read["mixed"], labels, strict=True) if not bad]
    later = drawn([(one, 0) for one in plain[:571]] + [(one, 1) for one in odd[21:]], 6)
    out = streamed(events_of(drawn(read["normal"][:379] + odd[:21], 5) + [one for one, _ in later]), BALANCED)
    late = counted(out.candidate[400:], [bad for _, bad in later])
    show("transactions, 5 % of the warm-up anomalous", found=late.found, of=late.bad, false=late.false)
    return {
        "transactions: 45..55 told of 50": 45 <= mix.found + mix.false <= 55,
        "transactions: <= 2 false": mix.false <= 2,
        "transactions: > 95 of 100": told > 95,
        "transactions: < 5 on normal data": alone < 5,
        "transactions: dirty warm-up finds 9 of 10": late.found >= 0.9 * late.bad and late.false <= 2,
    }


def fraud(folder: Path) -> Checks:
    """Fraud records: fit 2000, calibrate 2000, test 5000 + all frauds."""
    with (folder / "driftlock" / "fraud" / "fraud_data.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    normal = drawn([as_record(row) for row in rows if row["is_fraud"].strip('"') == "0"], 3)
    bad = [as_record(row) for row in rows if row["is_fraud"].strip('"').startswith("1")]
    got = apart("fraud", normal, bad, (2000, 2000, 5000))
    numbers, more = (
        [{name: one[name] for name in ("amt", "category")} for one in part] for part in (normal, bad)
    )
    alone = apart("fraud, amount by category", numbers, more, (2000, 2000, 5000))
    return {
        "fraud: AUROC >= .89": got["AUROC"] >= 0.89,
        "fraud: AUPRC >= .80": got["AUPRC"] >= 0.80,
        "fraud: best F1 >= .80": got["bestF1"] >= 0.80,
        "fraud, amount by category: AUROC >= .90": alone["AUROC"] >= 0.90,
    }


def as_record(row: dict[str, str]) -> dict[str, Any]:
    """A row of the table as a record: numbers as numbers, without the label."""
    record: dict[str, Any] = {}
    for name, value in row.items():
        if name == "is_fraud":
            continue
        try:
            record[name] = float(value)
        except ValueError:
            record[name] = value
    return record


def bgl(folder: Path) -> Checks:
    """BGL: each window of 50 lines, every 10, told by a model of the 400 lines before it; plain NCD beside it."""
    rows = (
        (folder / "loghub" / "BGL" / "BGL_2k.log").read_text(encoding="utf-8", errors="replace").splitlines()
    )
    lines = [row.partition(" ")[2] for row in rows]
    labels = [int(not row.startswith("- ")) for row in rows]
    out = streamed(events_of(lines), BALANCED)
    ends = range(450, len(lines) + 1, 10)
    truth = [int(any(labels[end - 50 : end])) for end in ends]
    top = [float(np.sort(out.milli_bits[end - 50 : end])[-5:].sum()) for end in ends]
    raw = [line.encode() for line in lines]
    masked = Masker(choose_mask(raw[:400])).lines(raw)
    runs, total = [], []
    for end in ends:
        coder = Coder()
        counts = Counter(masked[end - 450 : end - 50])
        coder.learn(list(counts), [min(count, MOST_WEIGHT) for count in counts.values()])
        costs = coder.costs(masked[end - 50 : end])
        runs.append(float(costs.dearest_run().sum()))
        total.append(float(costs.totals().sum()))
    compressor = Compressor()
    plain = [
        compressor.distance(tuple(raw[end - 450 : end - 50]), tuple(raw[end - 50 : end])) for end in ends
    ]
    rows_shown = (("dearest runs", runs), ("sum", total), ("live, top 5", top), ("plain NCD", plain))
    for name, scores in rows_shown:
        show(
            f"BGL windows, {name}",
            AUROC=auroc(scores, truth),
            AUPRC=auprc(scores, truth),
            F1=best_f1(scores, truth),
        )
    show("BGL lines: candidates", **vars(counted(out.candidate, labels)))
    return {
        "BGL: AUROC >= .88": auroc(runs, truth) >= 0.88,
        "BGL: AUPRC >= .62": auprc(runs, truth) >= 0.62,
        "BGL: best F1 >= .75": best_f1(runs, truth) >= 0.75,
    }


def unlabelled(folder: Path) -> Checks:
    """Logs without labels: incidents and alerts within the budget."""
    checks = {}
    for name in ("Apache", "OpenSSH", "Linux"):
        path = folder / "loghub" / name / f"{name}_2k.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        out = streamed(events_of(lines), BALANCED)
        show(
            f"{name}, 2000 lines",
            candidates=int(out.candidate.sum()),
            incidents=out.incidents,
            alerts=out.alerts,
        )
        checks[f"{name}: <= 40 incidents"] = out.incidents <= 40
        checks[f"{name}: alerts within a day's budget"] = out.alerts <= BALANCED.alert_budget_per_day
    return checks


def quiet_day(_: Path) -> Checks:
    """A million ordinary events in a day: numbered templates, a fiftieth of free words; alerts beside the budget."""
    count, words = 1_000_000, ("alpha", "beta", "gamma", "delta", "kappa", "omega", "sigma", "theta")
    engine, out_alerts, candidates, judged, rare = (
        Engine(1, BALANCED),
        0,
        0,
        0,
        dict.fromkeys((0.1, 0.05, 0.01, 0.001), 0),
    )
    for begin in range(0, count, 20_000):
        texts = []
        for a, b in values(3, 2 * begin, 40_000).reshape(-1, 2).tolist():
            if a % 50:
                said = f"{words[a % 8]} {words[a % 7]} {words[b % 6]}"
                texts.append(
                    f"host-{a % 20} worker[{b % 30000}]: {said} took {a % 5000} ms, status {200 + b % 3}"
                )
            else:
                texts.append(
                    "note: " + " ".join(words[(b >> shift) % 8] for shift in range(0, 3 * (4 + a % 3), 3))
                )
        given = [Event(n, n * 86_400, text=text) for n, text in enumerate(texts, start=begin + 1)]
        out = streamed(given, BALANCED, engine, segment=1000)
        out_alerts += out.alerts
        candidates += int(out.candidate.sum())
        seen = out.surprise[out.surprise >= 0]
        judged += seen.size
        for alpha in rare:
            rare[alpha] += int((seen >= surprise_of(alpha)).sum())
    show("a quiet day of 1,000,000 events", candidates=candidates, alerts=out_alerts, budget=24)
    show(
        "  share of p <= .1, .05, .01, .001", **{f"at {alpha}": hits / judged for alpha, hits in rare.items()}
    )
    return {
        "quiet day: alerts within the budget": out_alerts <= BALANCED.alert_budget_per_day,
        "quiet day: P(p <= a) <= 1.2 a": all(hits <= 1.2 * alpha * judged for alpha, hits in rare.items()),
    }


SETS: dict[str, Callable[[Path], Checks]] = {
    "http-params": http_params,
    "transactions": transactions,
    "fraud": fraud,
    "bgl": bgl,
    "unlabelled": unlabelled,
    "quiet-day": quiet_day,
}


def any_file(path: Path) -> None:
    """Two fifths of the unlabelled or normal items fit and calibrate, the rest is asked."""
    contents: list[Any] = []
    labels: list[int] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            item = json.loads(line)
        except ValueError:
            item = None
        label = item.pop("label", 0) if isinstance(item, dict) else 0
        contents.append(item.get("text", item) if isinstance(item, dict) else line)
        labels.append(int(label in (1, "1", True, "anomalous", "anom", "attack")))
    normal = drawn([one for one, bad in zip(contents, labels, strict=True) if not bad], 1)
    bad = [one for one, bad in zip(contents, labels, strict=True) if bad]
    fifth = len(normal) // 5
    if bad:
        apart(path.name, normal, bad, (fifth, fifth, len(normal) - 2 * fifth))
    out = streamed(events_of(contents), BALANCED)
    show(
        f"{path.name}, as a stream",
        **vars(counted(out.candidate, labels)),
        incidents=out.incidents,
        alerts=out.alerts,
    )


def main() -> int:
    """Print all tables; the last line is one JSON object. 1 when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(SETS)}")
    parser.add_argument("--file", type=Path, help="measure this file instead")
    arguments = parser.parse_args()
    if arguments.file:
        any_file(arguments.file)
        return 0
    report: dict[str, Any] = dict.fromkeys(("ours", "anchor", "ratio", "must", "goal", "ok"))
    report = {"bench": "anomaly_quality", "unit": "checks passed"} | report
    folder = data_folder()
    if folder is None:
        print("anomaly_quality: SKIPPED, no development data at ../shared/data")
        print(json.dumps(report))
        return 0
    checks: Checks = {}
    for title, run in SETS.items():
        if not arguments.sets or title in arguments.sets:
            print(title)
            checks |= run(folder)
    for name, passed in checks.items():
        print(f"{'ok  ' if passed else 'MISS'} {name}")
    good = sum(checks.values())
    report |= {"ours": good, "must": len(checks), "goal": len(checks), "ok": good == len(checks)}
    print(json.dumps(report))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
