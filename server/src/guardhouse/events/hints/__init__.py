"""What the events of a project say about how its app is set up."""
