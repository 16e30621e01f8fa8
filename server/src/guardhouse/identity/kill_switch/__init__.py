"""The platform's mode: normal, safe mode, or hard stop, for every process within a second."""
