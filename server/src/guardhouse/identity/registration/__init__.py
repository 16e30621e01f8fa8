"""Keys that somebody registers for itself, and the codes that invite to it."""
