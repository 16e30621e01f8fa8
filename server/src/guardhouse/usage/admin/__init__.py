"""What administrators see of usage and decide about it."""
