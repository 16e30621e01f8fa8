"""The platform looks after its tenants."""
