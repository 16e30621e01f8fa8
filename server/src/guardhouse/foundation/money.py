"""Money: integer micro-dollars, always whole hundreds of them, so that four digits on the wire are exact."""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from guardhouse.foundation.errors import Problem

MICROS_PER_USD: Final = 1_000_000
GRAIN: Final = 100  # micros; the fourth digit of a dollar
LEAST_MICROS: Final = 5_000
MOST_MICROS: Final = 10_000 * MICROS_PER_USD
_AMOUNT: Final = re.compile(r"[0-9]{1,5}(\.[0-9]+)?")
_DIGITS: Final = 4


class InvalidMoney(Problem):
    """An amount that is no plain decimal in a string, or is out of range."""

    status, code, title = 422, "invalid_money", "Invalid amount"
    remediation = 'Send dollars as a string of digits, such as "5.00", from 0.0050 to 10000.0000.'


class InvalidMoneyScale(Problem):
    """An amount finer than the books are."""

    status, code, title = 422, "invalid_money_scale", "Amount too fine"
    remediation = "Send at most four digits after the point."


def parse_usd(value: object, pointer: str, least: int = 0) -> int:
    """Return the micros of an amount as sent: a string of up to five digits and four decimals.

    Raises:
        InvalidMoney: another type, form or sign, below ``least`` micros, or over 10,000 dollars.
        InvalidMoneyScale: more than four decimals.
    """
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise InvalidMoney(
            'An amount is a string of digits, such as "5.00".', errors=[_error(pointer, "invalid_money")]
        )
    whole, _, part = value.partition(".")
    if len(part) > _DIGITS:
        raise InvalidMoneyScale(
            f"{value} has more than {_DIGITS} decimals.", errors=[_error(pointer, "invalid_money_scale")]
        )
    micros = int(whole) * MICROS_PER_USD + int(part.ljust(6, "0"))
    if not least <= micros <= MOST_MICROS:
        raise InvalidMoney(
            f"From {format_usd(least)} to {format_usd(MOST_MICROS)} dollars.",
            errors=[_error(pointer, "invalid_money")],
        )
    return micros


def _error(pointer: str, code: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "detail": 'dollars as a string, such as "5.00"'}


def format_usd(micros: int) -> str:
    """Return an amount with its four decimals: ``20000`` as ``"0.0200"``.

    Raises:
        ValueError: it is no whole hundred of micros, which no amount of the books is.
    """
    whole, rest = divmod(abs(micros), MICROS_PER_USD)
    digits, odd = divmod(rest, GRAIN)
    if odd:
        raise ValueError(micros)
    return f"{'-' if micros < 0 else ''}{whole}.{digits:04d}"


def round_up(micros: int) -> int:
    """Return a metered cost as it is charged: the next whole hundred."""
    return -(-micros // GRAIN) * GRAIN


def _read(value: Any, info: ValidationInfo) -> int:
    return parse_usd(value, f"/{info.field_name}", LEAST_MICROS)


# A member of a body that holds dollars as a string and arrives as micros.
UsdIn = Annotated[
    int,
    BeforeValidator(_read),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5}(\.\d{1,4})?$", "examples": ["5.00"]}),
]
UsdOut = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": r"^-?\d+\.\d{4}$", "examples": ["5.0000"]})
]
