"""Read one line of strace output: prefix, call, arguments, result; nothing is kept between lines.

Source of the grammar: strace(1) and the sources of strace 6.1 (`print_pathname`, `printfd`,
`decode_sockaddr`). Text that a watched program controls (paths, buffers) sits inside quotes or `<…>`, where
strace escapes quotes, brackets and control characters; the scanner honours both, so a file name can never
pass for a result.
"""

import re
from typing import NamedTuple

MAX_PID = 4_194_304
MAX_STRING_BYTES = 4093  # of 4,096 on the wire; what was cut may get a `…`
MAX_NS = 2**62  # in the year 2116; leaves room to move times

_PREFIX = re.compile(
    r"(?:\[pid\s+(\d{1,10})\]\s+|(\d{1,10})(?:<[^>]*>)?\s+)?"
    r"(?:(\d{1,11})\.(\d{1,9})\s+|(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s+)?"
    r"(?:\[[ 0-9a-fx?]+\]\s+){0,2}"
)
_USUAL_PREFIX = re.compile(
    r"(\d{1,6}) +(\d{1,9}|[1-3]\d{9})\.(\d{6}) (?=[a-z])"
)  # -f -ttt: nearly every line
_NAME = re.compile(r"([a-z_][a-z0-9_]{0,63})\(")
_RESUMED = re.compile(r"<\.\.\. ([a-z_?][a-z0-9_?]{0,63}) resumed>\s?")
_UNFINISHED = re.compile(r"<(?:unfinished|detached|pid changed to (\d{1,10})) \.\.\.>(?:\) += \?)?$")
# One piece of a decoded descriptor: an arrow, a quoted socket name, a device number, an escape, a character.
_NOTE = r'->|"(?:[^"\\]++|\\.)*+"|<(?:char|block) [0-9:]{1,24}>|\\.|[^<>\\"]'
_RETURNED = r"(?:(-?\d{1,20})(?!x)|(0x[0-9a-f]{1,16})|(\?))"
_ERRNO = r"(?: (E[A-Z0-9]{1,30})\b)?"
_RESULT = re.compile(rf"\s*= {_RETURNED}(?P<note><(?>{_NOTE})*>(?:\(deleted\))?)?{_ERRNO}")
_PLAIN_RESULT = re.compile(rf"\)\s*= {_RETURNED}(?:<.*>(?:\(deleted\))?)?{_ERRNO}")
# Quoted text, a decoded descriptor, a comment: whole. Brackets, commas: structure. A lone quote never closes.
_TOKEN = re.compile(rf'"(?:[^"\\]++|\\.)*+"|(?<=[0-9D])<(?>{_NOTE})*>|/\*.*?\*/|[()\[\]{{}},"]')
_MAX_ADDRESS = len("0xffffffff")  # beyond it is a pointer, not a count
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "b": "\b", "a": "\a"}
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"(\.\.\.)?')
_DESCRIPTOR = re.compile(r"(-?\d{1,10}|AT_FDCWD)(?:<(.*)>(\(deleted\))?)?$", re.DOTALL)


class Prefix(NamedTuple):
    """What stands before a call: `pid` and `ns`, None where the log has no such column.

    `day_ns` is True when `ns` counts from midnight (`-t`, `-tt`) and not from the epoch (`-ttt`).
    """

    pid: int | None
    ns: int | None
    day_ns: bool
    rest_at: int


class Result(NamedTuple):
    """What follows ` = `: `ret` (None for `?`, addresses), `errno`, the descriptor's `note`."""

    ret: int | None
    errno: str | None
    note: str | None


def read_prefix(line: str) -> Prefix | None:
    """Return the prefix of `line`, or None when its pid is no Linux pid or its time no time of ours."""
    usual = _USUAL_PREFIX.match(line)
    if usual is not None:
        pid_text, seconds, micros = usual.groups()
        ns = int(seconds + micros) * 1000
        return Prefix(int(pid_text), ns, day_ns=False, rest_at=usual.end())
    match = _PREFIX.match(line)
    if match is None:
        return None
    bracket, column, seconds, fraction, hour, minute, second, day_fraction = match.groups()
    pid = int(bracket or column) if bracket or column else None
    if pid is not None and pid > MAX_PID:
        return None
    if seconds is not None:
        ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
        return None if ns > MAX_NS else Prefix(pid, ns, day_ns=False, rest_at=match.end())
    if hour is not None:
        whole = int(hour) * 3600 + int(minute) * 60 + int(second)
        ns = whole * 1_000_000_000 + int((day_fraction or "").ljust(9, "0"))
        return Prefix(pid, ns, day_ns=True, rest_at=match.end())
    return Prefix(pid, None, day_ns=False, rest_at=match.end())


def read_name(rest: str) -> str | None:
    """Return the call's name when `rest` is `name(…`."""
    match = _NAME.match(rest)
    return match.group(1) if match else None


def read_resumed(rest: str) -> tuple[str, int] | None:
    """Return (name, offset of the remaining arguments) when `rest` is `<... name resumed>…`."""
    match = _RESUMED.match(rest)
    return (match.group(1), match.end()) if match else None


def cut_unfinished(text: str) -> tuple[str, int | None] | None:
    """Return (arguments so far, the pid that resumes it if another); None when it returned."""
    if "...>" not in text[-40:]:
        return None
    match = _UNFINISHED.search(text)
    if match is None:
        return None
    changed = match.group(1)
    return text[: match.start()].rstrip(), int(changed) if changed else None


def split_call(text: str) -> tuple[list[str], Result] | None:
    """Split `arguments) = result` into top-level arguments and the result; None when it is cut."""
    depth = 0
    begin = 0
    arguments: list[str] = []
    for match in _TOKEN.finditer(text):
        part = match.group()
        if part == '"':
            return None  # a text that never closes
        if part in "([{":
            depth += 1
        elif part == "," and depth == 0:
            arguments.append(text[begin : match.start()].strip())
            begin = match.end()
        elif part in ")]}":
            if depth == 0:
                if part != ")":
                    return None
                last = text[begin : match.start()].strip()
                if last or arguments:
                    arguments.append(last)
                result = _RESULT.match(text, match.end())
                return None if result is None else (arguments, _result(result, "note"))
            depth -= 1
    return None


def read_plain_result(text: str) -> Result | None:
    """Return what follows the last `) = ` of a call whose arguments nobody reads."""
    at = text.rfind(") ")
    while at >= 0:
        match = _PLAIN_RESULT.match(text, at)
        if match is not None:
            return _result(match, None)
        at = text.rfind(") ", 0, at)
    return None


def _result(match: re.Match[str], note_group: str | None) -> Result:
    number, address = match.group(1), match.group(2)
    errno = match.group(5 if note_group else 4)
    ret: int | None = None
    if number is not None:
        ret = int(number)
        if not -(2**63) <= ret < 2**63:
            ret = None
    elif address is not None and len(address) <= _MAX_ADDRESS:
        ret = int(address, 16)
    note = match.group(note_group) if note_group else None
    return Result(ret, errno, note)


def unescape(text: str) -> str:
    """Undo strace's C escapes; bytes that are no UTF-8 become U+FFFD, at most 4,096 bytes are kept."""
    if "\\" in text:
        raw = bytearray()
        end = 0
        for match in _ESCAPE.finditer(text):
            raw += text[end : match.start()].encode("utf-8", "replace")
            code = match.group(1)
            if code[0] == "x" and len(code) > 1:
                raw.append(int(code[1:], 16))
            elif code[0] in "01234567":
                raw.append(int(code, 8) & 0xFF)
            else:
                raw += _ESCAPED.get(code, code).encode("utf-8", "replace")
            end = match.end()
        raw += text[end:].encode("utf-8", "replace")
    else:
        raw = bytearray(text.encode("utf-8", "replace"))
    return fit_text(raw)


def fit_text(raw: bytes | bytearray) -> str:
    """Decode bytes into a text that is no longer in UTF-8 than the wire takes.

    What is no UTF-8 becomes U+FFFD, three bytes for one: cut after decoding, or a name of such bytes would be
    an event that the server refuses.
    """
    text = raw[:MAX_STRING_BYTES].decode("utf-8", "ignore" if len(raw) > MAX_STRING_BYTES else "replace")
    if len(raw) * 3 <= MAX_STRING_BYTES:
        return text
    packed = text.encode("utf-8", "replace")
    return text if len(packed) <= MAX_STRING_BYTES else packed[:MAX_STRING_BYTES].decode("utf-8", "ignore")


def read_string(argument: str) -> str | None:
    """Return the text of a quoted argument, None for `NULL`; what strace cut ends with `…`."""
    match = _QUOTED.match(argument)
    if match is None:
        return None
    text = unescape(match.group(1))
    return text + "…" if match.group(2) else text


def read_strings(argument: str) -> list[str]:
    """Return the texts of a quoted list such as an argv."""
    texts = []
    for match in _QUOTED.finditer(argument):
        text = unescape(match.group(1))
        texts.append(text + "…" if match.group(2) else text)
    return texts


def read_descriptor(argument: str) -> tuple[int | None, str | None]:
    """Split `3</etc/passwd>` into (3, "/etc/passwd").

    `AT_FDCWD</srv>` gives (None, "/srv"); the path of a deleted file ends with ` (deleted)`.
    """
    match = _DESCRIPTOR.match(argument)
    if match is None:
        return None, None
    number, note, deleted = match.groups()
    if note is not None:
        note = unescape(note) + (" (deleted)" if deleted else "")
    return (None if number == "AT_FDCWD" else int(number)), note
