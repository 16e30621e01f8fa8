"""The people of a tenant over HTTP."""
