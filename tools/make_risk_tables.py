"""Regenerate the committed integer tables of the risk engine with 30-digit decimals.

Purpose: the engine must give the same bits on every machine, so it never calls `exp` or `log`; it looks
numbers up in `analysis/risk/data/tables.bin`. Run without arguments to rewrite that file, with `--check` to
compare.
"""

import struct
import sys
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path

TARGET = Path(__file__).parents[1] / "server/src/guardhouse/analysis/risk/data/tables.bin"
HALVING_STEPS = 1024
HALVING_ONE = 1 << 31
MANTISSA_STEPS = 4096
RISK_STEPS = 9905


def rounded(value: Decimal) -> int:
    """The nearest integer, ties to even."""
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


def build() -> bytes:
    """All three tables, little-endian: 2^-x (u32 x 1025), log2 (u32 x 4097, nanobits), risk (u16 x 9905)."""
    with localcontext() as context:
        context.prec = 30
        ln2 = Decimal(2).ln()
        halving = [rounded((-ln2 * i / HALVING_STEPS).exp() * HALVING_ONE) for i in range(HALVING_STEPS + 1)]
        log2 = [
            rounded((1 + Decimal(i) / MANTISSA_STEPS).ln() / ln2 * 1_000_000_000)
            for i in range(MANTISSA_STEPS + 1)
        ]
        risk = [rounded(10_000 * (1 - (Decimal(-i) / 1000).exp())) for i in range(RISK_STEPS)]
    return (
        struct.pack(f"<{len(halving)}I", *halving)
        + struct.pack(f"<{len(log2)}I", *log2)
        + struct.pack(f"<{len(risk)}H", *risk)
    )


def main() -> int:
    """Write the tables, or with `--check` say whether the committed ones are these; 1 when they are not."""
    built = build()
    if "--check" in sys.argv[1:]:
        same = TARGET.exists() and TARGET.read_bytes() == built
        print("equal" if same else "DIFFERENT")
        return 0 if same else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(built)
    print(f"{TARGET.name}: {len(built)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
