"""Rules of process risk as a tenant has them: shown, written, overridden, tried out, and handed to scoring."""
