"""What the headers of a request say of the agent that asks for its rules."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guardhouse.analysis.abuse.target import Asker

MAX_WORD: Final = 64
_AGENT: Final = re.compile(
    r"(?:FastAPI-Guard-Agent|guard-agent|guardhouse-agent)/([0-9][0-9A-Za-z.+-]{0,40})"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which project an agent names, who it is, and which version of the document it has."""

    project: str | None
    asker: Asker
    known: str | None


def read_headers(headers: Mapping[str, str]) -> Asked:
    """Read what an agent says of itself; what cannot be read counts as not said."""
    version = _AGENT.match(headers.get("user-agent", ""))
    asker = Asker(
        installation=_word(headers, "x-agent-install-id"),
        instance=_word(headers, "x-guardhouse-instance"),
        agent_version=None if version is None else version[1],
    )
    named = "".join(sign for sign in headers.get("x-project-id", "").strip() if sign.isprintable())
    return Asked(named or None, asker, headers.get("if-none-match"))


def _word(headers: Mapping[str, str], name: str) -> str | None:
    said = headers.get(name, "").strip()
    return said if 0 < len(said) <= MAX_WORD and said.isascii() and said.isprintable() else None
