"""Anomalies: what was found in streams, with the numbers that show why, and what people made of it."""
