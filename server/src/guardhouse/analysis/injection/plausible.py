"""Whether decoded bytes are words that somebody wrote, or an accident."""

SHORTEST = 6
PRINTABLE_SHARE, LETTER_SHARE = 0.95, 0.60


def is_plausible(text: str) -> bool:
    """At least 6 code points, 95 % of them printable or white space, 60 % letters or spaces."""
    if len(text) < SHORTEST:
        return False
    printable = sum(1 for c in text if c.isprintable() or c in "\n\t\r")
    letters = sum(1 for c in text if c.isalpha() or c.isspace())
    return printable >= PRINTABLE_SHARE * len(text) and letters >= LETTER_SHARE * len(text)
