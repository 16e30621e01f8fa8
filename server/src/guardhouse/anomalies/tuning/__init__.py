"""Changing what streams are judged by: versions by merge patch, and what each change does to which stream."""
