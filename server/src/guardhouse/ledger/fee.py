"""What a run that ended badly by the request's own fault costs: never more than the same run completed."""

from typing import Final

from guardhouse.foundation.money import GRAIN, LEAST_MICROS

SHARE: Final = 50  # one fiftieth of the hold
MOST_MICROS: Final = 100_000


def minimum_fee(hold_micros: int, quote_micros: int) -> int:
    """Return the minimum fee in micros of a run: 2 % of its hold, 0.0050 to 0.1000, at most hold and quote."""
    share = hold_micros // SHARE // GRAIN * GRAIN
    return min(max(LEAST_MICROS, share), hold_micros, MOST_MICROS, quote_micros)
