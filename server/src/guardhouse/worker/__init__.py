"""Runs jobs and lanes; the list of all of them is registry.py."""
