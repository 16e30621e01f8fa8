"""Canaries: tokens to plant in prompts and documents; one that turns up elsewhere says that something leaked."""
