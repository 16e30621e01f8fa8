"""The sessions of one stream: masked lines and given symbols as steps, closed sessions as findings."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.decide import severity
from guardhouse.analysis.anomaly.event import Event, Judgement
from guardhouse.analysis.anomaly.finding import FamilyScore, Finding
from guardhouse.analysis.anomaly.open_sessions import Session, Step
from guardhouse.analysis.anomaly.sequence import JudgedSession, SessionRules, SessionStream, shape_words
from guardhouse.analysis.anomaly.session_model import FAMILIES
from guardhouse.analysis.anomaly.symbols import SymbolTable, symbol_of_number

_NAME_LENGTH: Final = 80


def rules_of(config: Config) -> SessionRules:
    """What a configuration says about sessions."""
    return SessionRules(
        config.fdr_q, config.alert_surprise, config.tail_guard, config.on_regime_change == "hold"
    )


class SessionChannel:
    """The part of a stream's engine for sessions and traces."""

    def __init__(self, seed: int) -> None:
        self.stream = SessionStream(seed)
        self.table = SymbolTable()
        self._told_changes = 0

    def observe_lines(
        self, events: Sequence[Event], lines: Sequence[bytes], config: Config
    ) -> list[JudgedSession]:
        """Take events with a session key and their masked lines; give the sessions that close."""
        steps = [
            Step(
                event.seq, event.time_us, event.key, self.table.symbol(line),
                event.order_us, event.end, event.entity,
            )
            for event, line in zip(events, lines, strict=True)
            if event.key
        ]  # fmt: skip
        return self.stream.observe(steps, rules_of(config)) if steps else []

    def observe_whole(self, events: Sequence[Event], config: Config) -> list[JudgedSession]:
        """Take events that are whole sessions of given symbols."""
        return self.stream.judge(self._whole(events), rules_of(config))

    def peek(self, events: Sequence[Event], config: Config) -> list[JudgedSession]:
        """Judge events that are whole sessions, and leave everything as it is."""
        return self.stream.peek(self._whole(events), rules_of(config))

    def regime_changes_since_asked(self) -> int:
        """Changes of regime that came since this was asked last."""
        new = self.stream.regime_changes - self._told_changes
        self._told_changes = self.stream.regime_changes
        return new

    @staticmethod
    def _whole(events: Sequence[Event]) -> list[Session]:
        return [
            Session(
                event.key or str(event.seq),
                tuple(map(symbol_of_number, event.symbols or ())),
                event.seq,
                event.seq,
                event.time_us,
                event.time_us,
                entity=event.entity,
            )
            for event in events
        ]

    def judge(self, judgement: Judgement) -> None:
        """Take a person's verdict; its template is the shape of a session."""
        match judgement.verdict:
            case "confirmed":
                self.stream.confirm(judgement.template)
            case "false_positive":
                self.stream.allow(judgement.template)
            case "unpin":
                self.stream.unpin(judgement.template)
            case "accept":
                self.stream.accept()

    def findings(self, judged: Sequence[JudgedSession]) -> list[Finding]:
        """The candidates among judged sessions, described."""
        return [self._finding(one) for one in judged if one.candidate]

    def _finding(self, judged: JudgedSession) -> Finding:
        model, session = self.stream.model, judged.session
        if model is None:
            raise RuntimeError("nothing is told before the warm-up ends")
        families = tuple(
            FamilyScore(name, score, surprise, len(reservoir), tail.extrapolated(score))
            for name, score, surprise, reservoir, tail in zip(
                FAMILIES, judged.scores, judged.families, model.reservoirs, model.tails, strict=False
            )
        )
        before, symbol = shape_words(judged.shape)
        return Finding(
            kind="session",
            first_seq=session.first_seq,
            last_seq=session.last_seq,
            time_us=session.last_us,
            entity=session.entity,
            template=judged.shape,
            surprise=judged.surprise,
            severity=severity(judged.surprise, pinned=judged.pinned),
            score_milli=judged.scores[-1],
            excess_milli=judged.scores[-1] - model.tails[len(judged.scores) - 1].median,
            families=families,
            pinned=judged.pinned,
            subject=f"{self._name(before)} then {self._name(symbol)}" if before else self._name(symbol),
            details=self._details(judged),
        )

    def _details(self, judged: JudgedSession) -> Mapping[str, Any]:
        session, why = judged.session, judged.why
        details: dict[str, Any] = {
            "session": session.key,
            "closed": session.closed,
            "steps": len(session.symbols),
            "began_us": session.first_us,
        }
        if why is not None:
            details |= {
                "dearest": [
                    {
                        "place": dear.place,
                        "step": self._name(dear.symbol),
                        "milli_bits": dear.milli_bits,
                        "expected": self._name(dear.expected),
                    }
                    for dear in why.dearest
                ],
                "missing": [[self._name(symbol), count] for symbol, count in why.missing],
                "surplus": [[self._name(symbol), count] for symbol, count in why.surplus],
            }
        return details

    def _name(self, symbol: int) -> str:
        if symbol == 0:
            return "end"
        name = self.table.name(symbol)
        return str(symbol - 1) if name is None else name.decode("utf-8", "replace")[:_NAME_LENGTH]

    def to_state(self) -> dict[str, Any]:
        """The channel for `snapshot`."""
        return {"stream": self.stream.to_state(), "table": self.table.to_state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The channel that `to_state` described."""
        made = cls(0)
        made.stream = SessionStream.from_state(state["stream"])
        made.table = SymbolTable.from_state(state["table"])
        made._told_changes = made.stream.regime_changes
        return made
