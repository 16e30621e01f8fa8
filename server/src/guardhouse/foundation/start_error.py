"""The one error for people at a terminal."""


class StartError(Exception):
    """A reason why the house cannot start or go on: one sentence with a remedy, shown without a stack trace."""
