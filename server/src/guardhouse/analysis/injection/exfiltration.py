"""Links in an answer that would carry data to a stranger's host when they are shown or followed.

Source: the image-rendering channel of indirect prompt injection (Greshake et al. 2023).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from guardhouse.analysis.injection.decode_payloads import payloads
from guardhouse.analysis.injection.find_secrets import looks_random
from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.offsets import Reading

LEAST_CARRIED: Final = 16
LONGEST_LINK: Final = 400  # a longer one to a stranger carries something, whatever it is
URL_CHARACTER: Final = r"[^\s<>\"'`)\]}]"
_URL: Final = rf"(?:https?:)?//{URL_CHARACTER}{{1,4000}}"
_PLACES: Final[dict[str, re.Pattern[str]]] = {
    "markdown_link": re.compile(rf"\]\(\s{{0,4}}<?({_URL})"),
    "reference_link": re.compile(rf"(?m:^)[ ]{{0,3}}\[[^\]\n]{{1,200}}\]:[ \t]{{0,8}}<?({_URL})"),
    "autolink": re.compile(rf"<({_URL})(?:>|\Z)"),
    "html_attribute": re.compile(
        rf"(?i:\b(?:src|href|srcset|action|poster|data)\s{{0,4}}=\s{{0,4}})[\"']?({_URL})"
    ),
    "css_url": re.compile(rf"(?i:\burl\()\s{{0,4}}[\"']?({_URL})"),
}
_HOST: Final = re.compile(r"(?:https?:)?//(?:[^/?#\\]*@)?(\[[^\]/]{1,64}\]|[^/?#:\\@\s]+)", re.IGNORECASE)
_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_PIECE: Final = re.compile(r"[^/?&#=;,]+")
_SEVERITY: Final = 4


def exfiltration(
    text: str, allowed_hosts: Sequence[str], sources: Iterable[str], others: Sequence[Leak] = ()
) -> list[Leak]:
    """Return the links that carry data out.

    Args:
        text: The answer.
        allowed_hosts: Hosts that may be linked; ``*.example.com`` means all below it.
        sources: Texts whose content must not leave (the conversation, the prompt).
        others: Leaks found in the same text; a link around one is a finding.
    """
    copied: list[str] | None = None
    found: dict[tuple[int, int], Leak] = {}
    for detector, pattern in _PLACES.items():
        for match in pattern.finditer(text):
            start, end = match.span(1)
            if (start, end) in found or is_allowed(match[1], allowed_hosts):
                continue
            if copied is None:  # few answers have a link to a stranger
                copied = [_squeezed(source) for source in sources]
            inside = any(start <= leak.start and leak.end <= end for leak in others)
            if inside or end - start > LONGEST_LINK or _carries(match[1], copied):
                found[start, end] = Leak("md_exfil", detector, start, end, match[1], _SEVERITY, match.start())
    return sorted(found.values(), key=lambda leak: leak.start)


def is_allowed(url: str, hosts: Sequence[str]) -> bool:
    """Return whether a URL's host is one of these or below a ``*.``; what has no readable host is not."""
    found = _HOST.match(url)
    host = found[1].rstrip(".").lower() if found else ""
    return any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts)


def _carries(url: str, copied: Sequence[str]) -> bool:
    _, _, rest = url.partition("//")[2].partition("/")
    query = rest or url.partition("?")[2]
    for piece in _PIECE.findall(query):
        plain = _unquoted(piece)
        if len(plain) < LEAST_CARRIED:
            continue
        squeezed = _squeezed(plain)
        if any(_shares(squeezed, source) for source in copied):
            return True
        if any(True for _ in payloads(Reading(plain), Findings())) or (
            looks_random(plain) and _is_mixed(plain)
        ):
            return True
    return False


def _unquoted(piece: str) -> str:
    """Decode percent escapes (RFC 3986) and plus signs, as far as they are UTF-8."""
    return _ESCAPES.sub(
        lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"),
        piece.replace("+", " "),
    )


def _shares(carried: str, source: str) -> bool:
    """Return whether 16 characters in a row of what a link carries stand in a source."""
    return any(carried[n : n + LEAST_CARRIED] in source for n in range(len(carried) - LEAST_CARRIED + 1))


def _squeezed(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _is_mixed(value: str) -> bool:
    return (
        any(c.isdigit() for c in value)
        and any(c.isupper() for c in value)
        and any(c.islower() for c in value)
    )
