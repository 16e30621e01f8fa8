"""Verdicts of people on processes: given, listed, withdrawn."""
