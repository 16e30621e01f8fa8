"""Verdict heads: trained from what people confirmed, in shadow first, taken by scoring at a recorded position."""
