"""Sessions of one stream: gathered, judged when they close, learned at the end of an epoch.

Model and reservoirs are frozen inside an epoch of sessions. A session like no learned one waits until its shape (the
dearest step and the one before it) was seen five times in two epochs; an epoch pair with more than a fifth of its
sessions rejected is a change of regime.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly import splitmix
from guardhouse.analysis.anomaly.decide import rejected
from guardhouse.analysis.anomaly.epoch import SAMPLED, epoch_length
from guardhouse.analysis.anomaly.learning import (
    ALLOWED_WEIGHT,
    CENSOR_SURPRISE,
    MOST_LEARNED,
    REGIME_EPOCHS,
    REGIME_EVENTS,
    REGIME_SHARE,
    WAIT_SURPRISE,
)
from guardhouse.analysis.anomaly.line_channel import RECALIBRATE_EVENTS, State
from guardhouse.analysis.anomaly.news import News
from guardhouse.analysis.anomaly.open_sessions import OpenSessions, Session, Step
from guardhouse.analysis.anomaly.quarantine import Quarantine
from guardhouse.analysis.anomaly.session_block import Block, joined, line_of, symbols_of
from guardhouse.analysis.anomaly.session_model import SessionModel, SessionWhy, Symbols
from guardhouse.analysis.anomaly.tail import FEW

WARM_UP: Final = 50
EXPLAINED_PER_BLOCK: Final = 32
YOUNG_SHARE: Final = 4
"""Scores from the first quarter of a stream's sessions leave the reservoirs: a young model says much of anything."""
_SHAPE_BITS: Final = 31
_NUMBERS: Final = (
    "seed",
    "warm_up",
    "closed",
    "regime_changes",
    "held",
    "_epoch_end",
    "_guard",
    "_high_epochs",
    "_high_sessions",
    "_quiet_until",
)


class SessionRules(NamedTuple):
    """What the configuration says about sessions."""

    fdr_q: float = 0.05
    alert_surprise: int = 3_000_000
    guard: float = 0.5
    hold: bool = False
    """Learn nothing after a change of regime until a person accepts it."""


class JudgedSession(NamedTuple):
    """The verdict on a session or a piece of one.

    `scores` and `families` (surprise) go by `FAMILIES`; a piece has the first only. `shape` names what unusual
    sessions of one cause share, 0 where nothing is unusual; `pinned` says that a person confirmed it. Of one block the
    first 32 candidates are explained.
    """

    session: Session
    scores: tuple[int, ...]
    families: tuple[int, ...]
    surprise: int
    rejected: bool
    candidate: bool
    pinned: bool
    shape: int
    why: SessionWhy | None


class SessionStream:
    """The sessions of a stream and their model. `state` is calibrating, ready or recalibrating."""

    def __init__(self, seed: int, warm_up: int = WARM_UP) -> None:
        self.seed = seed
        self.warm_up = warm_up
        self.closed = 0
        """Whole sessions so far."""
        self.regime_changes = 0
        self.held = False
        """A change of regime waits to be accepted; nothing is learned."""
        self.open = OpenSessions()
        self.model: SessionModel | None = None
        self._waiting: list[Symbols] = []  # of the warm-up
        self._quarantine = Quarantine()
        self._blocks: list[Block] = []  # of the epoch
        self._epoch_end = 0
        self._guard = 1.0
        self._high_epochs = 0  # epochs in a row with too many rejected
        self._high_sessions = 0  # sessions in these
        self._quiet_until = 0  # no candidates before so many sessions
        self._known: dict[int, None] = {}  # symbols that were learned, in the order they came
        self._news = News()
        self._bad: set[int] = set()  # shapes that a person confirmed
        self._allowed: set[int] = set()  # shapes that a person called usual

    @property
    def state(self) -> State:
        """Where the stream stands."""
        if self.model is None:
            return "calibrating"
        return "recalibrating" if self.held or self.closed < self._quiet_until else "ready"

    def observe(self, steps: Iterable[Step], rules: SessionRules) -> list[JudgedSession]:
        """Take the steps of one segment; judge the sessions that close in it."""
        return self.judge([session for step in steps for session in self.open.observe(step)], rules)

    def judge(self, sessions: Sequence[Session], rules: SessionRules) -> list[JudgedSession]:
        """Judge sessions in the order in which they closed; blocks end with the epoch."""
        found: list[JudgedSession] = []
        rest = list(sessions)
        while rest:
            if self.model is None:
                rest = self._warm(rest, rules)
                continue
            room = self._epoch_end - self.closed
            block, rest = _cut(rest, room)
            found += self._judge_block(self.model, block, rules)
            if self.closed >= self._epoch_end:
                self._end_epoch(self.model, rules)
        return found

    def peek(self, sessions: list[Session], rules: SessionRules) -> list[JudgedSession]:
        """Judge whole sessions by the model as it is, and change nothing; none before the warm-up ends."""
        if self.model is None or not sessions:
            return []
        scores = self.model.scores([session.symbols for session in sessions])
        return self._judged(self.model, sessions, scores, self.model.family_surprise(scores), rules)

    def accept(self) -> None:
        """A person accepts the new regime: what waits is learned, and nothing told for the next 200 sessions."""
        if self.held:
            self.held, self._quiet_until = False, self.closed + RECALIBRATE_EVENTS

    def confirm(self, shape: int) -> None:
        """A person says that this shape is bad: it is always told and never learned."""
        self._allowed.discard(shape)
        self._bad.add(shape)
        self._quarantine.release(shape)

    def allow(self, shape: int) -> None:
        """A person says that this shape is usual: it is never told, and learned with four times its weight."""
        self._bad.discard(shape)
        self._allowed.add(shape)
        waiting = self._quarantine.release(shape)
        if waiting is not None and self.model is not None:
            self.model.learn([symbols_of(waiting.line)] * ALLOWED_WEIGHT)

    def unpin(self, shape: int) -> None:
        """A person takes either back."""
        self._bad.discard(shape)
        self._allowed.discard(shape)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _warm(self, sessions: list[Session], rules: SessionRules) -> list[Session]:
        """Gather whole sessions; with enough of them fit the model."""
        for place, session in enumerate(sessions):
            if session.closed == "piece":
                continue
            self._waiting.append(session.symbols)
            self.closed += 1
            if len(self._waiting) >= self.warm_up:
                self.model = SessionModel.fit(self._waiting)
                self._know(self._waiting)
                self._news.begin(self._waiting)
                self._waiting = []
                self.open.reach = self.model.sequence.kind.reach if self.model.is_trace else None
                self._begin_epoch(self.model, rules)
                return sessions[place + 1 :]
        return []

    def _begin_epoch(self, model: SessionModel, rules: SessionRules) -> None:
        model.freeze(rules.guard)
        self._guard = rules.guard
        self._blocks = []
        self._epoch_end = self.closed + epoch_length(self.closed)

    def _judge_block(
        self, model: SessionModel, block: list[Session], rules: SessionRules
    ) -> list[JudgedSession]:
        whole = [session for session in block if session.closed != "piece"]
        pieces = [session for session in block if session.closed == "piece"]
        scores = model.scores([session.symbols for session in whole])
        families = model.family_surprise(scores)
        judged = self._judged(model, whole, scores, families, rules)
        self._news.note([session.symbols for session in whole], model.combined(families))
        self._blocks.append(
            Block(
                [session.symbols for session in whole],
                scores,
                np.array([one.surprise for one in judged], np.int64),
                np.array([one.rejected for one in judged], np.bool_),
                np.array([one.shape for one in judged], np.int64),
            )
        )
        if pieces:
            means = model.piece_means([session.symbols for session in pieces])
            rare = model.tails[0].surprise(means)
            judged += self._judged(model, pieces, means.reshape(1, -1), rare.reshape(1, -1), rules)
            place = {id(session): number for number, session in enumerate(block)}
            judged.sort(key=lambda one: place[id(one.session)])
        self.closed += len(whole)
        return judged

    def _judged(
        self,
        model: SessionModel,
        sessions: list[Session],
        scores: NDArray[np.int64],
        families: NDArray[np.int64],
        rules: SessionRules,
    ) -> list[JudgedSession]:
        """Decide about sessions of one block by the surprise of their families, shape (families, sessions)."""
        unknown = np.array([not self._known.keys() >= set(session.symbols) for session in sessions], np.bool_)
        surprise = model.combined(families)
        if unknown.any():
            surprise = np.where(unknown, np.minimum(surprise, self._news.bound(surprise)), surprise)
        cut = rejected(surprise, rules.fdr_q)
        shapes = [
            _shape(model.shape(session.symbols, self._known)) if rare else 0
            for session, rare in zip(sessions, ((surprise >= WAIT_SURPRISE) | cut).tolist(), strict=True)
        ]
        bad = np.array([shape in self._bad for shape in shapes], np.bool_)
        usual = np.array([shape in self._allowed for shape in shapes], np.bool_)
        candidates = ((cut & (surprise >= rules.alert_surprise)) | bad) & ~usual
        if self.state != "ready":
            candidates &= bad
        explained = set(np.flatnonzero(candidates)[:EXPLAINED_PER_BLOCK].tolist())
        return [
            JudgedSession(
                session,
                tuple(scores[:, place].tolist()),
                tuple(families[:, place].tolist()),
                int(surprise[place]),
                bool(cut[place]),
                bool(candidates[place]),
                bool(bad[place]),
                shapes[place],
                model.explain(session.symbols, list(self._known)) if place in explained else None,
            )
            for place, session in enumerate(sessions)
        ]

    def _end_epoch(self, model: SessionModel, rules: SessionRules) -> None:
        """Bring reservoirs, quarantine and model up to date, in this order."""
        epoch = joined(self._blocks)
        high = int(np.count_nonzero(epoch.rejected)) > REGIME_SHARE * len(epoch.sessions)
        self._high_epochs = self._high_epochs + 1 if high else 0
        self._high_sessions = self._high_sessions + len(epoch.sessions) if high else 0
        sustained = self._high_epochs >= REGIME_EPOCHS and self._high_sessions >= REGIME_EVENTS
        if sustained and self.state == "ready":
            self.regime_changes += 1
            self._high_epochs = self._high_sessions = 0
            self._quiet_until = self.closed + RECALIBRATE_EVENTS
            self.held = rules.hold
        if not self.held:
            plainly = self.closed < self._quiet_until
            self._admit(model, epoch, rules, plainly=plainly)
            learned = self._believed(epoch, everything=plainly)
            model.learn(learned)
            self._know(learned)
        self._begin_epoch(model, rules)

    def _admit(self, model: SessionModel, epoch: Block, rules: SessionRules, *, plainly: bool) -> None:
        """Let a sample of the epoch's scores into the reservoirs.

        Of the rejected ones each 1/q-th enters, cut off; so does what looks rare. Leaving all of them out would
        shrink the tail on itself, letting all in would blind it. Scores by a much younger model leave.
        """
        size = len(epoch.sessions)
        sampled = np.arange(size) % max(1, size // SAMPLED) == 0
        nth = np.cumsum(epoch.rejected)
        let_in = ~epoch.rejected | (nth % max(1, -(-1 // rules.fdr_q)) == 0)
        censored = (epoch.rejected | (epoch.surprise >= CENSOR_SURPRISE)) & (not plainly)
        chosen = sampled & (let_in | plainly)
        origins = self.closed - size + np.flatnonzero(chosen)
        for reservoir, tail, row in zip(model.reservoirs, model.tails, epoch.scores, strict=True):
            values = np.where(censored[chosen], np.minimum(row[chosen], tail.cap()), row[chosen])
            reservoir.admit(values, censored[chosen], origins)
            young = reservoir.origins < self.closed // YOUNG_SHARE
            if young.size - int(np.count_nonzero(young)) >= FEW:
                reservoir.forget(reservoir.origins[young])

    def _believed(self, epoch: Block, *, everything: bool) -> list[Symbols]:
        """The sessions of an epoch to learn: usual ones, and those whose shape has waited long enough."""
        learned = [
            session for session, shape in zip(epoch.sessions, epoch.shapes.tolist(), strict=True) if not shape
        ]
        by_shape: dict[int, list[Symbols]] = {}
        for session, shape in zip(epoch.sessions, epoch.shapes.tolist(), strict=True):
            if shape and shape not in self._bad:
                by_shape.setdefault(shape, []).append(session)
        for shape, sessions in by_shape.items():
            if self._quarantine.see(shape, line_of(sessions[-1]), len(sessions)) or everything:
                learned += sessions
        if everything:
            learned += [symbols_of(waiting.line) for _, waiting in self._quarantine.release_all()]
        if len(learned) > MOST_LEARNED:
            seed = splitmix.derive(self.seed, splitmix.Purpose.LEARN, self.closed)
            order = splitmix.shuffled(seed, len(learned))[:MOST_LEARNED]
            learned = [learned[place] for place in np.sort(order).tolist()]
        return learned

    def _know(self, sessions: Sequence[Symbols]) -> None:
        self._known.update(dict.fromkeys(symbol for session in sessions for symbol in session))

    # -- state -----------------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Everything for `snapshot`; the epoch is kept as it is so far."""
        epoch = joined(self._blocks)
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            "open": self.open.to_state(),
            "model": None if self.model is None else self.model.to_state(),
            "waiting": [line_of(session) for session in self._waiting],
            "quarantine": self._quarantine.to_state(),
            "epoch": epoch.to_state(),
            "known": np.array(list(self._known), np.int64),
            "news": self._news.to_state(),
            "bad": np.array(sorted(self._bad), np.int64),
            "allowed": np.array(sorted(self._allowed), np.int64),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The stream that `to_state` described."""
        made = cls(state["seed"], state["warm_up"])
        for name in _NUMBERS:
            setattr(made, name, state[name])
        made.open = OpenSessions.from_state(state["open"])
        made.model = None if state["model"] is None else SessionModel.from_state(state["model"], made._guard)
        made._waiting = [symbols_of(line) for line in state["waiting"]]
        made._quarantine = Quarantine.from_state(state["quarantine"])
        made._blocks = [Block.from_state(state["epoch"])]
        made._known = dict.fromkeys(state["known"].tolist())
        made._news = News.from_state(state["news"])
        made._bad, made._allowed = set(state["bad"].tolist()), set(state["allowed"].tolist())
        return made


def _cut(sessions: list[Session], whole: int) -> tuple[list[Session], list[Session]]:
    """The first sessions up to a number of whole ones, and the rest."""
    left = whole
    for place, session in enumerate(sessions):
        left -= session.closed != "piece"
        if left == 0:
            return sessions[: place + 1], sessions[place + 1 :]
    return sessions, []


def shape_words(shape: int) -> tuple[int, int]:
    """The step before and the dearest step of a shape, as symbols."""
    return shape >> _SHAPE_BITS, shape & ((1 << _SHAPE_BITS) - 1)


def _shape(pair: tuple[int, int]) -> int:
    """One number for a step and the one before it; never 0, because a step is not 0 after 0 in a session."""
    return (pair[0] << _SHAPE_BITS | pair[1]) or 1
