"""Scores computed anew: one process at once, or a range of an agent's time as a job with a result."""
