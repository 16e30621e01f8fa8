"""Who is asking: tenants, keys, agent signatures, roles and the Caller."""
