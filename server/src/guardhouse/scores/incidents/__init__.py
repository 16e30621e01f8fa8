"""Incidents of process risk: one story per tree and time, told once, closed once."""
