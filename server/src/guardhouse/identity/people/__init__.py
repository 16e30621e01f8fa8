"""Members, their sessions and one-time links, as stored."""
