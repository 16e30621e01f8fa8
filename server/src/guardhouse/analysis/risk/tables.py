"""Exact numbers without a maths library: halving, logarithm and the risk curve from committed integer tables.

Invariant: every function here uses integers and IEEE-754 add, subtract, multiply and divide only, so the same
input gives the same bits on every machine. `tools/make_risk_tables.py` regenerates `data/tables.bin`.
"""

import struct
from importlib.resources import files
from math import frexp
from typing import Final

HALVING_STEPS = 1024
MANTISSA_STEPS = 4096
RISK_STEPS = 9905
MICRO = 1_000_000
MAX_RISK = 10_000  # hundredths: 100.00

_BYTES = (files("guardhouse.analysis.risk") / "data" / "tables.bin").read_bytes()
_HALVING: Final[tuple[int, ...]] = struct.unpack_from(f"<{HALVING_STEPS + 1}I", _BYTES, 0)
_LOG2: Final[tuple[int, ...]] = struct.unpack_from(f"<{MANTISSA_STEPS + 1}I", _BYTES, 4 * (HALVING_STEPS + 1))
_RISK: Final[tuple[int, ...]] = struct.unpack_from(
    f"<{RISK_STEPS}H", _BYTES, 4 * (HALVING_STEPS + MANTISSA_STEPS + 2)
)

_FORGOTTEN = 40  # halvings after which at most a few millionths of a nat could be left


def decayed(micro: int, elapsed_us: int, half_life_s: int) -> int:
    """`micro` after `elapsed_us` microseconds of halving every `half_life_s` seconds, rounded down.

    Never more than `micro`, never less than 0, and never rising with time; a negative time counts as 0.
    """
    if elapsed_us <= 0 or micro <= 0:
        return micro
    steps = (elapsed_us << 20) // (half_life_s * MICRO)
    whole = steps >> 20
    if whole >= _FORGOTTEN:
        return 0
    index = (steps >> 10) & 1023
    high = _HALVING[index]
    factor = high - (((high - _HALVING[index + 1]) * (steps & 1023)) >> 10)
    return (micro * factor) >> (31 + whole)


def log2_micro(value: float) -> int:
    """log2 of a positive number in millionths (micro-bits), within 2e-6 of the true value.

    Raises:
        ValueError: `value` is not positive.
    """
    if value <= 0:
        raise ValueError(f"log2 needs a positive number, got {value}")
    mantissa, exponent = frexp(value)
    steps = int((mantissa * 2.0 - 1.0) * 4194304.0)
    index = steps >> 10
    low = _LOG2[index]
    nano = low + (((_LOG2[index + 1] - low) * (steps & 1023)) >> 10)
    return (exponent - 1) * MICRO + (nano + 500) // 1000


def risk_hundredths(nats_micro: int) -> int:
    """100 x (1 - e^-A) in hundredths (0 to 10,000) for A in micro-nats.

    Looked up by the nearest milli-nat.
    """
    milli = (nats_micro + 500) // 1000
    if milli <= 0:
        return 0
    return _RISK[milli] if milli < RISK_STEPS else MAX_RISK


def nats_for(hundredths: int) -> int:
    """The least A in micro-nats, a multiple of 1,000, whose risk is at least `hundredths`.

    Raises:
        ValueError: no entry of the table reaches `hundredths`.
    """
    for milli, risk in enumerate(_RISK):
        if risk >= hundredths:
            return milli * 1000
    raise ValueError(f"no risk of {hundredths} hundredths")
