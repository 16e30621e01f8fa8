"""One text with what is known about it."""

from dataclasses import dataclass

USER, EXTERNAL = "user", "external"


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled text.

    Attributes:
        text: The text as sent, before any normalising.
        label: 1 for an attack, 0 for harmless.
        channel: ``user`` or ``external``: where the text stands.
        family: What must stay on one side of a fold: a source, or a family of the generator.
        lang: ISO 639-1 code, or the empty string where a data set does not say.
        source: Name of the data set, or ``generator``.
        detail: What a data set says beyond that, such as the category, or which disguise a generated row wears.
    """

    text: str
    label: int
    channel: str
    family: str
    lang: str
    source: str = "generator"
    detail: str = ""
