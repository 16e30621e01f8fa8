"""Metered runs: submit, execute, finish, reconcile; no work without a hold, no end without its resolution."""
