"""The door for events of any kind: one stream in the path, JSON or one object per line."""
