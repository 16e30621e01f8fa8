"""Lower case that keeps every code point in its place; apart from what needs numpy."""


def lowered(text: str) -> str:
    """Lower-case a text so that every code point keeps its place (U+0130 alone would become two)."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower()[:1] for c in text)
