"""Events with text or a record as masked lines, with the numbers and words that numeric fields need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.mask import Masker, Traced, choose_mask
from guardhouse.analysis.anomaly.normalise import to_lines
from guardhouse.analysis.anomaly.record import (
    Rules,
    learn_rules,
    leaves,
    numbers,
    record_line,
    trace_record,
    words,
)

_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Read:
    """One line per event; numbers and words of the records (empty for texts and where none are asked for)."""

    lines: list[bytes]
    numbers: list[Mapping[str, float]]
    words: list[Mapping[str, str]]


class Reader:
    """Reads events by the mask and the rules that a stream's warm-up chose."""

    def __init__(self, mask: str, rules: Rules) -> None:
        self.masker = Masker(mask)
        self.rules = rules

    @classmethod
    def learned(cls, events: Sequence[Event], mask: str) -> Self:
        """The reader for events like these; ``mask`` may be ``auto``."""
        if mask == "auto":
            texts = to_lines([event.text for event in events if event.text is not None])
            mask = choose_mask(texts) if texts else "light"
        return cls(mask, learn_rules([leaves(event.body) for event in events if event.body is not None]))

    def read(self, events: Sequence[Event], *, with_fields: bool) -> Read:
        """Mask events; with fields, hand out numbers and words of records too."""
        texts = [event.text for event in events if event.text is not None]
        lines = self.masker.lines(to_lines(texts))
        if len(texts) == len(events):
            return Read(lines, [], [])
        from_text = iter(lines)
        every: list[bytes] = []
        found_numbers: list[Mapping[str, float]] = []
        found_words: list[Mapping[str, str]] = []
        for event in events:
            if event.body is None:
                every.append(next(from_text))
                found_numbers.append(_NOTHING)
                found_words.append(_NOTHING)
                continue
            found = leaves(event.body)
            every.append(record_line(found, self.rules))
            if with_fields:
                found_numbers.append(numbers(found))
                found_words.append(words(found))
        return Read(every, found_numbers if with_fields else [], found_words if with_fields else [])

    def trace(self, event: Event) -> Traced:
        """One event's line before and after masking."""
        if event.body is not None:
            return trace_record(leaves(event.body), self.rules)
        return self.masker.trace(to_lines([event.text or ""])[0])

    def to_state(self) -> dict[str, Any]:
        """The reader for ``snapshot``."""
        return {"mask": self.masker.mask, "rules": self.rules.to_state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The reader that ``to_state`` described."""
        return cls(state["mask"], Rules.from_state(state["rules"]))
