"""Many texts in one call: answered at once, or judged by the worker in jobs of a hundred."""
