"""What intake counts, for both families."""

from typing import Final

from prometheus_client import Counter, Histogram

ACCEPTED: Final = Counter("guardhouse_events_accepted_total", "Telemetry events stored.", ["kind"])
DUPLICATES: Final = Counter("guardhouse_events_duplicate_total", "Telemetry events that were stored before.")
REJECTED: Final = Counter("guardhouse_events_rejected_total", "Telemetry events refused.", ["code"])
BATCH_SIZE: Final = Histogram(
    "guardhouse_ingest_batch_size", "Events per batch.", buckets=(1, 10, 100, 500, 1000, 2500, 5000, 10000)
)
