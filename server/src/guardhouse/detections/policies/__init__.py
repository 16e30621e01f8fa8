"""Policies of tenants: versions that never change, which one is in force for a call, which key is bound to which."""
