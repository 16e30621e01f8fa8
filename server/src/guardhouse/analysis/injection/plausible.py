"""Whether decoded bytes are words that somebody wrote, or an accident."""

SHORTEST, LONG = 6, 24
PRINTABLE_SHARE, LETTER_SHARE = 0.95, 0.60


def is_plausible(text: str) -> bool:
    """At least 6 code points, 95 % of them printable or white space, 60 % letters or spaces.

    From 24 code points on digits count as letters: there a text is no accident, and may be another encoding.
    """
    if len(text) < SHORTEST:
        return False
    printable = sum(1 for c in text if c.isprintable() or c in "\n\t\r")
    letters = sum(1 for c in text if c.isalpha() or c.isspace() or (len(text) >= LONG and c.isalnum()))
    return printable >= PRINTABLE_SHARE * len(text) and letters >= LETTER_SHARE * len(text)
