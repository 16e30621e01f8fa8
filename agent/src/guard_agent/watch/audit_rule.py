"""One rule of the kernel's audit filter: packed for AUDIT_ADD_RULE, read back from AUDIT_LIST_RULES.

Source: `struct audit_rule_data` of linux/audit.h; the format is the same for every ABI of a machine.
"""

import struct
from dataclasses import dataclass
from typing import Final

FILTER_EXIT: Final = 4
FILTER_EXCLUDE: Final = 5
PREPEND: Final = 0x10
NEVER: Final = 0
ALWAYS: Final = 2

PID: Final = 0
LOGIN_UID: Final = 9
ARCH: Final = 11
MESSAGE_TYPE: Final = 12
PPID: Final = 18
SUCCESS: Final = 104
WATCH: Final = 105
PERM: Final = 106
DIR: Final = 107
ARG0: Final = 200
KEY: Final = 210

EQUAL: Final = 0x40000000
NOT_EQUAL: Final = 0x30000000
BIT_AND: Final = 0x08000000
LESS: Final = 0x10000000

PERM_READ: Final = 4
PERM_WRITE: Final = 2
PERM_ATTRIBUTES: Final = 8

_MASK_WORDS: Final = 64
_MAX_FIELDS: Final = 64
_ALL_BITS: Final = 0xFFFF_FFFF
_HEAD: Final = struct.Struct(f"=3I{_MASK_WORDS}I{_MAX_FIELDS}I{_MAX_FIELDS}I{_MAX_FIELDS}II")
# Fields whose value is the length of a text in the buffer: labels of security modules, paths, programs, the key.
_TEXTS: Final = frozenset((13, 14, 15, 16, 17, 19, 20, 21, 22, 23, WATCH, DIR, 112, KEY))


@dataclass(frozen=True, slots=True)
class Field:
    """One condition of a rule: `name` is a number of linux/audit.h, `value` a number or a text."""

    name: int
    value: int | str
    operator: int = EQUAL


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `calls` are numbers of the ABI that an ARCH field names; None stands for every call."""

    fields: tuple[Field, ...]
    calls: frozenset[int] | None = None
    action: int = ALWAYS
    list_number: int = FILTER_EXIT


def pack_rule(rule: Rule) -> bytes:
    """Return the rule as `struct audit_rule_data`.

    Raises:
        ValueError: more than 64 fields, or a call number beyond 2,047.
    """
    count = len(rule.fields)
    if count > _MAX_FIELDS:
        raise ValueError(f"a rule has at most {_MAX_FIELDS} fields, got {count}")
    names, values, operators, texts = [], [], [], b""
    for field in rule.fields:
        names.append(field.name)
        operators.append(field.operator)
        if isinstance(field.value, str):
            raw = field.value.encode("utf-8", "surrogateescape")
            values.append(len(raw))
            texts += raw
        else:
            values.append(field.value & 0xFFFF_FFFF)
    rest = [0] * (_MAX_FIELDS - count)
    head = _HEAD.pack(
        rule.list_number,
        rule.action,
        count,
        *_mask(rule.calls),
        *names,
        *rest,
        *values,
        *rest,
        *operators,
        *rest,
        len(texts),
    )
    return head + texts


def _mask(calls: frozenset[int] | None) -> list[int]:
    if calls is None:
        return [0xFFFF_FFFF] * (_MASK_WORDS - 1) + [
            0
        ]  # as auditctl does: the last word means classes of calls
    words = [0] * _MASK_WORDS
    for number in calls:
        if not 0 <= number < 32 * _MASK_WORDS:
            raise ValueError(f"no audit rule can name call {number}")
        words[number // 32] |= 1 << (number % 32)
    return words


def unpack_rule(data: bytes) -> Rule:
    """Read a rule as the kernel lists it.

    Raises:
        ValueError: the bytes are too short.
    """
    if len(data) < _HEAD.size:
        raise ValueError("an audit rule is cut short")
    numbers = _HEAD.unpack_from(data)
    list_number, action, count = numbers[:3]
    mask = numbers[3 : 3 + _MASK_WORDS]
    columns = [numbers[3 + _MASK_WORDS + n * _MAX_FIELDS :][:count] for n in range(3)]
    fields = []
    at = _HEAD.size
    for name, value, operator in zip(*columns, strict=True):
        if name in _TEXTS:
            text = data[at : at + value].decode("utf-8", "surrogateescape")
            at += value
            fields.append(Field(name, text, operator))
        else:
            fields.append(Field(name, value, operator))
    calls = frozenset(
        32 * word + bit for word, bits in enumerate(mask) if bits for bit in range(32) if bits >> bit & 1
    )
    every = all(bits == _ALL_BITS for bits in mask[:-1])
    return Rule(tuple(fields), None if every else calls, action, list_number)


def key_of(rule: Rule) -> str | None:
    """Return the key of a rule, None when it has none; several keys are one text."""
    return next((str(field.value) for field in rule.fields if field.name == KEY), None)
