"""The end of an epoch: scores enter the reservoirs, lines wait or are learned, and a change of regime is noticed.

Rejected events stay out of the reservoirs but for the share that is rejected by chance, and what looks rare enters
censored: leaving all of it out makes the tail shrink on itself, letting all of it in blinds the detector.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.epoch import SAMPLED, Block, joined
from guardhouse.analysis.anomaly.fitting import Learned
from guardhouse.analysis.anomaly.line_channel import RECALIBRATE_EVENTS, LineChannel
from guardhouse.analysis.anomaly.splitmix import Purpose, derive, value
from guardhouse.analysis.anomaly.tail import CENSOR_P, Reservoir, Tail, surprise_of
from guardhouse.analysis.anomaly.warmup import MOST_WEIGHT

MOST_LEARNED: Final = 512
"""Distinct lines that an epoch teaches."""
WAIT_SURPRISE: Final = surprise_of(0.02)
CENSOR_SURPRISE: Final = surprise_of(CENSOR_P)
REGIME_SHARE: Final = 0.2
REGIME_EPOCHS: Final = 2
REGIME_EVENTS: Final = 200
"""A change of regime lasts: a burst in the short epochs of a young stream is an attack, not a new normal."""
ALLOWED_WEIGHT: Final = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """The events of an epoch that were looked at closely: positions, and their total cost by each model."""

    seq: NDArray[np.int64]
    rolling: NDArray[np.int64]
    anchor: NDArray[np.int64]
    rejected: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """What came of an epoch."""

    events: int
    first_seq: int
    last_seq: int
    rejected: int
    regime_changed: bool
    rotated: bool
    sample: Sample


def end_epoch(channel: LineChannel, config: Config, seed: int) -> EpochEnd:
    """Bring reservoirs, quarantine and model up to date, in this order, and begin the next epoch."""
    learned, run = channel.learned, channel.run
    if learned is None or not run.blocks:
        raise RuntimeError("there is no epoch to end")
    block = joined(run.blocks)
    share = int(np.count_nonzero(block.rejected))
    high = share > REGIME_SHARE * block.size
    run.high_epochs = run.high_epochs + 1 if high else 0
    run.high_events = run.high_events + block.size if high else 0
    sustained = run.high_epochs >= REGIME_EPOCHS and run.high_events >= REGIME_EVENTS
    changed = sustained and channel.state == "ready"
    if changed:
        run.high_epochs = run.high_events = 0
        run.recalibrate_left = RECALIBRATE_EVENTS
        run.holding = config.on_regime_change == "hold"
    _apply_queued(channel, learned)
    positions = np.arange(0, block.size, max(1, run.length // SAMPLED))
    rotated = False
    if not run.holding:
        pinned = _pinned(channel, learned, block)
        plainly = changed or run.recalibrate_left > 0
        _admit(channel, learned, block, positions[~pinned[positions]], config.fdr_q, plainly=plainly)
        _note_first_sightings(channel, learned, block, pinned, config.fdr_q, plainly=plainly)
        _learn(channel, learned, block, derive(seed, Purpose.LEARN, int(block.seq[0])), everything=plainly)
        rotated = learned.model.rotate_if_due(run.times_us)
    sample = _sample(learned, block, positions)
    channel.begin_epoch(config)
    return EpochEnd(block.size, int(block.seq[0]), int(block.seq[-1]), share, changed, rotated, sample)


def _apply_queued(channel: LineChannel, learned: Learned) -> None:
    """Do what judgements asked of reservoirs and model; inside an epoch these are frozen."""
    queued, channel.queued = channel.queued, []
    for judgement in queued:
        if judgement.verdict == "confirmed":
            for reservoir in (*learned.model.reservoirs, *learned.model.novel):
                reservoir.forget(np.array(judgement.seqs, np.int64))
        elif judgement.line and judgement.template not in channel.pins.bad:
            channel.quarantine.release(judgement.template)
            learned.model.learn([judgement.line], [ALLOWED_WEIGHT], [judgement.template])


def _pinned(channel: LineChannel, learned: Learned, block: Block) -> NDArray[np.bool_]:
    if not channel.pins.bad:
        return np.zeros(block.size, np.bool_)
    templates = learned.model.templates
    bad = np.fromiter((t in channel.pins.bad for t in templates), np.bool_, len(templates))
    return bad[block.line]


def _admit(
    channel: LineChannel,
    learned: Learned,
    block: Block,
    positions: NDArray[np.int64],
    q: float,
    *,
    plainly: bool,
) -> None:
    """Let the sampled events into the reservoirs of every family."""
    model = learned.model
    if not plainly:
        positions = _without_rejected(channel, block, positions, q)
    cost = model.scores[:, block.line[positions]]
    for reservoir, tail, row in zip(model.reservoirs, model.tails, cost, strict=True):
        _enter(reservoir, tail, row, block.seq[positions], plainly=plainly)
    for number, one in enumerate(learned.fields):
        mine = positions[block.known[number][positions]]
        _enter(one.reservoir, one.tail, block.distance[number][mine], block.seq[mine], plainly=plainly)
        one.admit(block.z[number][mine])


def _without_rejected(
    channel: LineChannel, block: Block, positions: NDArray[np.int64], q: float
) -> NDArray[np.int64]:
    """Drop rejected events but for each ``ceil(1/q)``-th: so many are rejected by chance."""
    out = block.rejected[positions]
    number = channel.run.rejected_sampled + np.cumsum(out)
    channel.run.rejected_sampled = int(number[-1]) if number.size else channel.run.rejected_sampled
    kept: NDArray[np.int64] = positions[~out | (number % math.ceil(1 / q) == 0)]
    return kept


def _enter(
    reservoir: Reservoir, tail: Tail, scores: NDArray[np.int64], seqs: NDArray[np.int64], *, plainly: bool
) -> None:
    if plainly:
        reservoir.admit_plainly(scores, seqs)
        return
    censored = tail.surprise(scores) >= CENSOR_SURPRISE
    reservoir.admit(np.where(censored, np.minimum(scores, tail.cap()), scores), censored, seqs)


def _note_first_sightings(
    channel: LineChannel,
    learned: Learned,
    block: Block,
    pinned: NDArray[np.bool_],
    q: float,
    *,
    plainly: bool,
) -> None:
    """Remember when lines were first seen, and what first sightings cost; rejected ones as in ``_admit``."""
    model = learned.model
    distinct, where = np.unique(block.line, return_index=True)
    new = np.array(
        [model.fresh[line] and model.templates[line] not in channel.quarantine for line in distinct], np.bool_
    )
    places = np.sort(where[new])
    number = channel.run.rejected_new + np.cumsum(block.rejected[places])
    channel.run.rejected_new = int(number[-1]) if number.size else channel.run.rejected_new
    by_chance = number % math.ceil(1 / q) == 0
    places = places[~pinned[places] & (plainly | ~block.rejected[places] | by_chance)]
    flags = np.zeros(block.size, np.bool_)
    flags[places] = True
    model.note_sightings(flags)
    places = places[:: max(1, places.size // SAMPLED)]
    for reservoir, tail, row in zip(model.novel, model.novel_tails, model.scores, strict=True):
        _enter(reservoir, tail, row[block.line[places]], block.seq[places], plainly=plainly)


def _learn(channel: LineChannel, learned: Learned, block: Block, seed: int, *, everything: bool) -> None:
    """Teach the model: released lines, then unseen ones, then the rest in seeded order."""
    model, quarantine, pins = learned.model, channel.quarantine, channel.pins
    counts = np.bincount(block.line, minlength=len(model.lines))
    taught: dict[int, tuple[bytes, int]] = {}
    if everything:
        taught = {t: (w.line, w.count) for t, w in quarantine.release_all() if t not in pins.bad}
    unseen: list[int] = []
    seen: list[int] = []
    distinct, where = np.unique(block.line, return_index=True)
    for line in distinct[np.argsort(where)].tolist():
        template = model.templates[line]
        if template in pins.bad:
            continue
        waits = model.fresh[line] and model.surprise[line] >= WAIT_SURPRISE
        if waits and not everything and template not in pins.allowed:
            released = quarantine.see(template, model.lines[line], int(counts[line]))
            if released is not None:
                taught[template] = (released.line, released.count)
            continue
        (unseen if model.fresh[line] else seen).append(line)
    for group in (unseen, seen):
        group.sort(key=lambda line: (value(seed, model.templates[line]), model.lines[line]))
    for line in [*unseen, *seen][:MOST_LEARNED]:
        template = model.templates[line]
        quarantine.release(template)
        weight = int(counts[line]) * (ALLOWED_WEIGHT if template in pins.allowed else 1)
        taught[template] = (model.lines[line], weight)
    weights = [min(weight, MOST_WEIGHT) for _, weight in taught.values()]
    model.learn([line for line, _ in taught.values()], weights, list(taught))


def _sample(learned: Learned, block: Block, positions: NDArray[np.int64]) -> Sample:
    used, place = np.unique(block.line[positions], return_inverse=True)
    lines = [learned.model.lines[line] for line in used]
    return Sample(
        block.seq[positions],
        learned.model.scores[0][block.line[positions]],
        learned.anchor.scores(lines)[0][place],
        block.rejected[positions],
    )
