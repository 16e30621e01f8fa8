"""Texts that no answer may repeat, system prompts above all; kept as keyed hashes of their shingles."""
