"""What people answered about processes, stored: verdicts, and the version of each group's answers."""
