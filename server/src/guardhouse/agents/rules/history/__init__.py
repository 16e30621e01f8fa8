"""Revisions of an app's rules: what each changed, who has it, and the way back to it."""
