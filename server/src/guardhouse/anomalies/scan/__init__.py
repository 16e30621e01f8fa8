"""Judging: workers run the engine over new segments, each segment exactly once, whatever is restarted when."""
