"""The status that in-app agents send."""
