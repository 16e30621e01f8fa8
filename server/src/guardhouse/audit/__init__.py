"""Who did what: a chained, append-only record per tenant."""
