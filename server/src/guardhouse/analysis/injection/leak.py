"""One thing in a model's answer that should not leave: what kind, which detector, where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leak:
    """``[start, end)`` are code points of the text that was scanned; ``value`` never leaves the process as it is.

    ``begin`` is where what gave it away begins, a label before the value for example; never after ``start``.
    """

    kind: str  # canary, prompt_echo, secret, pii, md_exfil
    detector: str
    start: int
    end: int
    value: str
    severity: int  # 1 minor .. 4 grave
    begin: int
