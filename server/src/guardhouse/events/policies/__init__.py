"""Policies: bans that follow from scores, events or findings, watched, proposed or put into force, with brakes."""
