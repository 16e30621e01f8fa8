"""What time alone does to scores: bands fall and incidents close without further events."""
