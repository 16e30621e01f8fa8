"""Notices become deliveries: the loop that drives fan-out."""
