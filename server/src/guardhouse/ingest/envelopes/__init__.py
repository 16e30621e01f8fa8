"""Sealed envelopes that no key of their project opens yet: kept as they are until the right key is stored."""
