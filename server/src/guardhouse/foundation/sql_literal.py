"""A text as a literal of SQL, for the few statements that cannot have parameters: those in one message with COMMIT."""


def sql_literal(text: str | None) -> str:
    r"""Return a text as PostgreSQL reads it back, whatever is in it; the same rules as libpq's PQescapeLiteral.

    A text with a backslash gets the ``E''`` form, so that the setting standard_conforming_strings does not matter.

    Raises:
        ValueError: the text has a NUL, which PostgreSQL cannot store.
    """
    if text is None:
        return "NULL"
    if "\0" in text:
        raise ValueError("a text for PostgreSQL has no NUL")
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"
