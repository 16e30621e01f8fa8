"""The outbox: what happened, in order, durable."""
