"""Conditions of a rule step, compiled: field, operators, values. No code and no regular expressions in rules.

A condition is `field = {operator = value, ...}`; the operators of one field are alternatives, the fields of
one table must all hold. Operators: eq, in, prefix, suffix, glob, bits, ge. A field with several words
(argv, flags) holds when one word does.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from guardhouse.analysis.risk.act import FIELDS, PATH_FIELDS, Act, Value
from guardhouse.analysis.risk.glob import compile_glob

Test = Callable[[Value], bool]
OPERATORS: Final = ("eq", "in", "prefix", "suffix", "glob", "bits", "ge")


MAX_WORDS: Final = 512  # values of one operator, with the words of the lists it names


class RuleInvalidError(ValueError):
    """A rule that cannot be loaded: the place in it as a JSON pointer, and what is wrong there."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(f"{pointer or '/'}: {reason}")
        self.pointer = pointer
        self.reason = reason

    def of(self, rule: str) -> "RuleInvalidError":
        """Return the same with the rule's name before the place."""
        return RuleInvalidError(f"{rule}{self.pointer}", self.reason)


def below(pointer: str, *words: str | int) -> str:
    """Return the JSON pointer of a member further in (RFC 6901)."""
    return pointer + "".join("/" + str(word).replace("~", "~0").replace("/", "~1") for word in words)


def _texts(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise RuleInvalidError(where, "expected a string or a list of strings")


def _equal(value: Any, where: str) -> Test:
    if not isinstance(value, str | int | bool):
        raise RuleInvalidError(where, "eq takes a string, an integer or a boolean")
    return lambda got: got == value or (isinstance(got, tuple) and value in got)


def _member(value: Any, where: str) -> Test:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str | int) for word in value):
        raise RuleInvalidError(where, "in takes a list")
    allowed = frozenset(value)
    return lambda got: any(word in allowed for word in got) if isinstance(got, tuple) else got in allowed


def _on_words(test: Callable[[str], bool]) -> Test:
    def holds(got: Value) -> bool:
        if isinstance(got, str):
            return test(got)
        return isinstance(got, tuple) and any(test(word) for word in got)

    return holds


def _prefix(value: Any, where: str) -> Test:
    words = _texts(value, where)
    return _on_words(lambda got: got.startswith(words))


def _suffix(value: Any, where: str) -> Test:
    words = _texts(value, where)
    return _on_words(lambda got: got.endswith(words))


def _glob(value: Any, where: str) -> Test:
    try:
        tests = tuple(compile_glob(word) for word in _texts(value, where))
    except ValueError as error:
        raise RuleInvalidError(where, str(error)) from None
    return _on_words(lambda got: any(test(got) for test in tests))


def _bits(value: Any, where: str) -> Test:
    if isinstance(value, int) and value > 0:
        return lambda got: isinstance(got, int) and got & value != 0
    names = frozenset(_texts(value, where))
    return lambda got: isinstance(got, tuple) and any(word in names for word in got)


def _at_least(value: Any, where: str) -> Test:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RuleInvalidError(where, "ge takes an integer")
    return lambda got: isinstance(got, int) and got >= value


_COMPILERS: Final[Mapping[str, Callable[[Any, str], Test]]] = {
    "eq": _equal,
    "in": _member,
    "prefix": _prefix,
    "suffix": _suffix,
    "glob": _glob,
    "bits": _bits,
    "ge": _at_least,
}


class Condition:
    """One field and the alternatives of its value."""

    __slots__ = ("field", "read", "tests")

    def __init__(self, field: str, tests: tuple[Test, ...]) -> None:
        self.field = field
        self.read = FIELDS[field]
        self.tests = tests

    def holds(self, act: Act) -> bool:
        """Whether the act's field passes one of the alternatives; an unknown field never does."""
        return self.passes(self.read(act))

    def passes(self, got: Value) -> bool:
        """Whether a value passes one of the alternatives."""
        if got is None:
            return False
        return any(test(got) for test in self.tests)

    @property
    def on_path(self) -> bool:
        """Whether `args.path` alone decides it."""
        return self.field in PATH_FIELDS


def compile_conditions(table: object, where: str, lists: Mapping[str, list[str]]) -> tuple[Condition, ...]:
    """Compile `{field = {operator = value}}`; `@name` inside a list stands for a list of `lists.toml`.

    Raises:
        RuleInvalidError: unknown field, operator or list, or a value of the wrong shape.
    """
    if not isinstance(table, dict):
        raise RuleInvalidError(where, "expected a table of fields")
    out = []
    for field, operators in table.items():
        if field not in FIELDS:
            raise RuleInvalidError(below(where, field), f"unknown field {field!r}")
        if not isinstance(operators, dict) or not operators:
            raise RuleInvalidError(below(where, field), "expected operators")
        tests = []
        for operator, value in operators.items():
            if operator not in _COMPILERS:
                raise RuleInvalidError(below(where, field, operator), f"unknown operator {operator!r}")
            place = below(where, field, operator)
            tests.append(_COMPILERS[operator](expand(value, place, lists), place))
        out.append(Condition(field, tuple(tests)))
    return tuple(out)


def expand(value: Any, where: str, lists: Mapping[str, list[str]]) -> Any:
    """Replace `@name` words of a list by the named list's words."""
    if isinstance(value, str) and value.startswith("@"):
        value = [value]
    if not isinstance(value, list):
        return value
    out: list[Any] = []
    for word in value:
        if isinstance(word, str) and word.startswith("@"):
            if word[1:] not in lists:
                raise RuleInvalidError(where, f"unknown list {word!r}")
            out.extend(lists[word[1:]])
        else:
            out.append(word)
    if len(out) > MAX_WORDS:
        raise RuleInvalidError(where, f"more than {MAX_WORDS} values")
    return out
