"""Alert channels: destinations with a format and rules of their own, on the deliveries of webhooks."""
