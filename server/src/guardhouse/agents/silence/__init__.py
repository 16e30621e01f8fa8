"""Host agents that are not heard any more."""
