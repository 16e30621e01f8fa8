"""What proves the audit log: the walk along the chain, signed heads, signed exports."""
