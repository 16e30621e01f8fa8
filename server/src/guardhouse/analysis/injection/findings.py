"""What a run of the normaliser collects beside the base reading."""

from dataclasses import dataclass, field

from guardhouse.analysis.injection.offsets import Reading

MOST_VIEWS = 8
MOST_DECODED = 40_000  # code points over all views of one text
DEEPEST = 2  # a view of a view


@dataclass(slots=True)
class Findings:
    """Flags and decoded views (kind, reading, depth) of one text, within bounds that keep encodings cheap."""

    flags: set[str] = field(default_factory=set)
    views: list[tuple[str, Reading, int]] = field(default_factory=list)
    decoded: int = 0
    depth: int = 0  # of the reading at work; the text as sent is 0
    most_views: int = MOST_VIEWS

    def add(self, kind: str, view: Reading) -> bool:
        """Keep a view unless a bound is reached, which ``views_truncated`` then says; return whether it was kept."""
        self.flags.add(kind)
        full = len(self.views) >= self.most_views or self.decoded + len(view.text) > MOST_DECODED
        if full or self.depth >= DEEPEST:
            self.flags.add("views_truncated")
            return False
        self.decoded += len(view.text)
        self.views.append((kind, view, self.depth + 1))
        return True
