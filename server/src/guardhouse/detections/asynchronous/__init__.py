"""Texts that the worker judges: taken with their job in one transaction, answered by a look or a delivery."""
