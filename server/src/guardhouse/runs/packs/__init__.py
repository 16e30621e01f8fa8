"""The packs that ship, and the registry of all that are installed."""
