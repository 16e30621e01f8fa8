"""The quarantine of a project as people see it: what could not be read, tried again or deleted."""
