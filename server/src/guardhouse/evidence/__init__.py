"""Evidence: bundles that prove themselves offline, and the deadlines that hang on an incident."""
