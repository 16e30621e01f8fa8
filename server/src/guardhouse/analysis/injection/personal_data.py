"""Personal data in a text; every kind that has a check digit is checked.

Sources: ITU-T E.164, ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN, mod 97-10), the US rules for SSN, the Croatian OIB
(ISO 7064 mod 11,10).
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final

from guardhouse.analysis.injection.leak import Leak

_SEVERITY: Final = {
    "payment_card": 4,
    "ssn": 4,
    "iban": 3,
    "oib": 3,
    "date_of_birth": 2,
    "email": 2,
    "phone": 2,
    "ip": 1,
}
_NOT_DIGIT: Final = re.compile(r"\D")
_DECIMAL: Final = 10


def _digits(value: str) -> str:
    return _NOT_DIGIT.sub("", value)


def is_card(value: str) -> bool:
    """Luhn's check over 13 to 19 digits that are not all the same."""
    digits = [int(c) for c in _digits(value)]
    doubled = (sum(divmod(2 * digit, _DECIMAL)) for digit in digits[-2::-2])
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % _DECIMAL == 0


def is_iban(value: str) -> bool:
    """ISO 13616: the number with its head moved to the end leaves 1 when divided by 97."""
    packed = re.sub(r"[\s\-]", "", value).upper()
    shortest, longest = 15, 34
    if not shortest <= len(packed) <= longest:
        return False
    return int("".join(str(int(c, 36)) for c in packed[4:] + packed[:4])) % 97 == 1


def is_oib(value: str) -> bool:
    """ISO 7064, mod 11,10, over eleven digits."""
    rest = _DECIMAL
    for c in value[:10]:
        rest = (rest + int(c)) % _DECIMAL or _DECIMAL
        rest = rest * 2 % 11
    return (11 - rest) % _DECIMAL == int(value[10])


def is_ssn(value: str) -> bool:
    """No area 000, 666 or 9xx, no group 00, no serial 0000."""
    area, group, serial = value[:3], value[4:6], value[7:]
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


def is_phone(value: str) -> bool:
    """E.164: 8 to 15 digits after the plus."""
    fewest, most = 8, 15
    return fewest <= len(_digits(value)) <= most


def is_address(value: str) -> bool:
    """An IP address of either version that is not a mere version number or unspecified."""
    try:
        return not ipaddress.ip_address(value).is_unspecified
    except ValueError:
        return False


_KINDS: Final[dict[str, tuple[str, Callable[[str], bool]]]] = {
    "email": (
        r"(?<![\w.+\-])[\w.+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w\-])",
        lambda value: ".." not in value and not value.startswith("."),
    ),
    "phone": (r"(?<![\w+])\+[1-9][0-9](?:[ ().\-]{0,2}[0-9]){6,13}(?![0-9])", is_phone),
    "payment_card": (r"(?<![\d.\-])[0-9](?:[ \-]?[0-9]){12,18}(?![\d\-])", is_card),
    "iban": (r"\b[A-Z]{2}[0-9]{2}(?:[ \-]?[A-Z0-9]{2,4}){3,8}(?:[ \-]?[A-Z0-9]{1,3})?\b", is_iban),
    "ssn": (r"(?<![\d\-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\d\-])", is_ssn),
    "oib": (r"(?i:\boib\b.{0,12}?)(?<!\d)([0-9]{11})(?!\d)", is_oib),
    "ip": (
        r"(?<![\w.:])(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4})(?![\w:]|\.\d)",
        is_address,
    ),
    "date_of_birth": (
        (
            r"(?i:\b(?:born(?: on)?|date of birth|d\.?o\.?b\.?|birth ?date|birthday|geboren(?: am)?|geburtsdatum"
            r"|né(?:e)? le|fecha de nacimiento|data di nascita|data de nascimento|datum rođenja|rođen[a]?)\b.{0,6}?)"
            r"([0-9]{1,4}[./\-][0-9]{1,2}[./\-][0-9]{1,4}|[0-9]{1,2}\.? [A-Za-z]{3,10}\.? [0-9]{4}"
            r"|[A-Z][a-z]{2,9} [0-9]{1,2}, [0-9]{4})"
        ),
        lambda _: True,
    ),
}
DETECTORS: Final = {name: (re.compile(shape), check) for name, (shape, check) in _KINDS.items()}


def personal_data(text: str) -> list[Leak]:
    """Return the personal data of a text from left to right; of two that overlap the graver."""
    found = sorted(_all(text), key=lambda leak: (-leak.severity, leak.start))
    kept: list[Leak] = []
    for leak in found:
        if all(leak.end <= other.start or other.end <= leak.start for other in kept):
            kept.append(leak)
    return sorted(kept, key=lambda leak: leak.start)


def _all(text: str) -> Iterator[Leak]:
    for name, (pattern, check) in DETECTORS.items():
        group = 1 if pattern.groups else 0
        for match in pattern.finditer(text):
            if check(match[group]):
                start, end = match.span(group)
                yield Leak("pii", name, start, end, match[group], _SEVERITY[name], match.start())
