"""Take secrets out of an argv before it reaches the disk; each is replaced by `[redacted]`.

A word list and a few shapes cannot know every secret: this is a net, not a wall. Environments are never read.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from guard_agent.watch.strace_args import cut_argv

MARK: Final = "[redacted]"

_WORDS: Final = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_]?key|apikey|access[-_]?key|secret[-_]?key|private[-_]?key"
    r"|auth(?:orization)?|credentials?|bearer|client[-_]?secret|session[-_]?(?:id|key)|cookie|signing[-_]?key"
    r"|encryption[-_]?key|master[-_]?key|license[-_]?key"
)
# `--db-password=x`, `--token x`, `PGPASSWORD=x`, `apikey: x`, also inside `sh -c "…"`.
_ASSIGNED: Final = re.compile(
    rf"(?P<name>(?<![A-Za-z0-9])(?:[A-Za-z0-9]{{1,30}}[-_.]){{0,6}}[A-Za-z0-9]{{0,30}}?(?:{_WORDS}))"
    r"(?P<by>\s{0,4}=\s{0,4}|[\"']\s{0,4}:\s{0,4})(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s\"'&;|]+)",
    re.IGNORECASE,
)
_OPTION_INSIDE: Final = re.compile(
    rf"(?P<name>(?<!\S)--?(?:[A-Za-z0-9]{{1,30}}[-_]){{0,6}}(?:{_WORDS}))(?P<by>\s+)"
    r"(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s\"'&;|-][^\s\"'&;|]*)",
    re.IGNORECASE,
)
_OPTION_ALONE: Final = re.compile(rf"--?(?:[A-Za-z0-9]{{1,30}}[-_]){{0,6}}(?:{_WORDS})$", re.IGNORECASE)
_HEADER: Final = re.compile(
    r"(?P<name>\b(?:proxy-)?authorization|\bx-[a-z-]*(?:key|token|auth|secret|signature)[a-z-]*|\b(?:set-)?cookie"
    r"|\bprivate-token|\bapi-?key)(?P<by>\s*:\s*)(?P<value>[^\"'\r\n]+)",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{1,20}://)[^\s/?#@\"']+@", re.IGNORECASE)
_QUERY: Final = re.compile(
    r"(?P<name>[?&](?:access_token|token|sig|signature|key|api_?key|password|secret|code|x-amz-[a-z-]+)=)[^&\s\"'#]+",
    re.IGNORECASE,
)
_SHAPES: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r"|\b(?:gh[opsru]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})"
    r"|\b(?:gh_(?:live|test)_[A-Za-z0-9_-]{8,}|sk-[A-Za-z0-9_-]{16,}|[rs]k_(?:live|test)_[A-Za-z0-9]{10,})"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\bnpm_[A-Za-z0-9]{30,}"
    r"|\bya29\.[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}|\bdop_v1_[a-f0-9]{40,}",
    re.DOTALL,
)
_TOUCHED: Final = re.compile(
    r"[=:@]|gh_|pass|pwd|secret|token|key|auth|cred|bearer|cookie|eyJ|gh[opsru]_|github_pat|glpat|sk-|[rs]k_|xox|AKIA|ASIA"
    r"|AIza|npm_|ya29|hf_|dop_v1|BEGIN",
    re.IGNORECASE,
)
# Programs whose short option carries a secret: the option, and whether the value may be glued to it.
_SHORT: Final[dict[str, tuple[str, bool]]] = {
    "mysql": ("-p", True),
    "mysqldump": ("-p", True),
    "mysqladmin": ("-p", True),
    "mariadb": ("-p", True),
    "sshpass": ("-p", True),
    "curl": ("-u", True),
    "redis-cli": ("-a", False),
    "ldapsearch": ("-w", True),
    "smbclient": ("-U", False),
    "htpasswd": ("-b", False),
    "docker": ("-p", False),
    "zip": ("-P", True),
    "unzip": ("-P", True),
    "7z": ("-p", True),
}
_GLUED_ONLY: Final = frozenset(("mysql", "mysqldump", "mysqladmin", "mariadb", "7z"))


def redact_text(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced by `[redacted]`."""
    if not _TOUCHED.search(text):
        return text
    text = _SHAPES.sub(MARK, text)
    text = _URL.sub(rf"\g<scheme>{MARK}@", text)
    text = _HEADER.sub(rf"\g<name>\g<by>{MARK}", text)
    text = _QUERY.sub(rf"\g<name>{MARK}", text)
    text = _OPTION_INSIDE.sub(rf"\g<name>\g<by>{MARK}", text)
    return _ASSIGNED.sub(_assigned, text)


def _assigned(match: re.Match[str]) -> str:
    value = match.group("value")
    if value == MARK or value.startswith("//"):
        return match.group()
    return f"{match.group('name')}{match.group('by')}{MARK}"


def redact_argv(argv: list[str]) -> list[str]:
    """Return `argv` without its secrets: inside items, after `--password`-like and known short options."""
    if not argv:
        return argv
    program = argv[0].rsplit("/", 1)[-1]
    short, gluable = _SHORT.get(program, ("", False))
    kept = [argv[0]]
    hide_next = False
    for item in argv[1:]:
        if hide_next and not _is_option(item):
            kept.append(MARK)
            hide_next = False
            continue
        hide_next = bool(_OPTION_ALONE.match(item)) or (item == short and program not in _GLUED_ONLY)
        if gluable and len(item) > len(short) and item.startswith(short) and not item.startswith("--"):
            kept.append(short + MARK)
        else:
            kept.append(redact_text(item))
    return kept


def _is_option(item: str) -> bool:
    return item.startswith("--") and len(item) > 2  # noqa: PLR2004 -- more than the two dashes


class RedactionError(ValueError):
    """The host's own list of what to redact cannot be used."""


class Redactor:
    """Redacts events: what this file knows, and what the host's own list adds.

    Args:
        words: names whose value is a secret too: of an option, of an assignment, or of a header.
        patterns: regular expressions; what matches is replaced whole.

    Raises:
        RedactionError: a pattern is no regular expression.
    """

    def __init__(self, words: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        names = "|".join(re.escape(word) for word in words)
        self._patterns: list[re.Pattern[str]] = []
        self._option: re.Pattern[str] | None = None
        if names:
            name = rf"(?P<name>(?<![A-Za-z0-9])(?:[A-Za-z0-9]{{1,30}}[-_.]){{0,6}}(?:{names}))"
            value = r"(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s\"'&;|]+)"
            self._named = re.compile(
                rf"{name}(?P<by>\s{{0,4}}[=:]\s{{0,4}}|(?<=\S)\s+(?!-)){value}", re.IGNORECASE
            )
            self._option = re.compile(rf"--?(?:[A-Za-z0-9]{{1,30}}[-_]){{0,6}}(?:{names})$", re.IGNORECASE)
        for pattern in patterns:
            try:
                self._patterns.append(re.compile(pattern))
            except re.error as error:
                raise RedactionError(f"{pattern!r} is no regular expression: {error}") from None

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """Redact the argv of an event in place and return the event.

        A mark may be longer than what it hides; the argv is cut again, or the server would refuse the event.
        """
        args = event.get("args")
        if args is not None:
            argv = args.get("argv")
            if argv is not None:
                args["argv"] = cut_argv(self.argv(argv))
        return event

    def argv(self, argv: list[str]) -> list[str]:
        """Return `argv` without its secrets."""
        kept = redact_argv(argv)
        if self._option is not None:
            kept = self._own_names(kept, self._option)
        for pattern in self._patterns:
            kept = [pattern.sub(MARK, item) for item in kept]
        return kept

    def _own_names(self, argv: list[str], option: re.Pattern[str]) -> list[str]:
        kept = []
        hide_next = False
        for item in argv:
            if hide_next and not _is_option(item):
                kept.append(MARK)
                hide_next = False
                continue
            hide_next = bool(option.match(item))
            kept.append(self._named.sub(rf"\g<name>\g<by>{MARK}", item))
        return kept


def read_redactor(path: Path) -> Redactor:
    """Read a host's own list: one word per line, or `/pattern/`; `#` begins a comment.

    Raises:
        OSError: the file cannot be read.
        RedactionError: a pattern is no regular expression.
    """
    words, patterns = [], []
    for line in path.read_text("utf-8").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if len(text) > 2 and text[0] == text[-1] == "/":  # noqa: PLR2004 -- more than the two slashes
            patterns.append(text[1:-1])
        else:
            words.append(text)
    return Redactor(words, patterns)


_plain: Final = Redactor()


def redact_event(event: dict[str, Any]) -> dict[str, Any]:
    """Redact the argv of an event in place by what this file knows, and return the event."""
    return _plain.event(event)
