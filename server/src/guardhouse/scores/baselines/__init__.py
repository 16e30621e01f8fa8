"""Baselines of programs: learned from ended runs, kept in versions, read by scoring and by people."""
