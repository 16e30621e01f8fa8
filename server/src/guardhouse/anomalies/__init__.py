"""Unusual behaviour of streams: what machines report is stored in order, and what does not belong is found in it."""
