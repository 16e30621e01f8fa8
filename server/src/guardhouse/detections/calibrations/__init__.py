"""Calibrations of tenants: a shift of a channel's scores that holds a share of harmless texts at the block line."""
