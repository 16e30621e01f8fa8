"""What the OTLP doors count."""

from typing import Final

from prometheus_client import Counter

REQUESTS: Final = Counter(
    "guardhouse_otlp_requests_total", "Exports answered.", ["signal", "encoding", "code"]
)
REJECTED: Final = Counter(
    "guardhouse_otlp_rejected_total", "Records of exports that were refused.", ["signal"]
)
