"""Previews: what a rule, an exception or an answer would have changed on days that are stored, before it is saved."""
