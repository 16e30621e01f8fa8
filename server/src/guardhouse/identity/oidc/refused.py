"""Why a person could not sign in, in words for that person."""


class SignInRefused(Exception):  # noqa: N818 - named like the problems are
    """The sign-in ends here; ``code`` is stable, the text is for the page, ``status`` for the answer."""

    def __init__(self, code: str, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status
