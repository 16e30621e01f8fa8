"""Tune policies by what was judged: try out a change on stored scores, and calibrate to the tenant's own texts."""
