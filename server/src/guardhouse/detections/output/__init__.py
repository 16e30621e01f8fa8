"""What a model answers, looked at before it leaves: whole or in pieces."""
