"""Allow and deny lists of tenants: exact texts by their SHA-256, and phrases."""
