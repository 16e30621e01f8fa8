"""What delivering tells of itself: tries by outcome, sends under way, and how soon after the notice."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from guardhouse.webhooks.record import OUTCOMES

_TRIES: Final = Counter("guardhouse_webhook_tries_total", "Tries of deliveries, by outcome.", ["outcome"])
TRIES: Final = {outcome: _TRIES.labels(outcome) for outcome in OUTCOMES.values()}
UNDER_WAY: Final = Gauge("guardhouse_webhook_sends", "Deliveries under way in this process.")
DELAY: Final = Histogram(
    "guardhouse_webhook_delay_seconds",
    "From a notice to the first try of its delivery.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
