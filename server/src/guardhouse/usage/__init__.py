"""How much is used: rate limits, quotas, the log of requests and its figures."""
