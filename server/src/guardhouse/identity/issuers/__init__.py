"""External issuers: who else may say who somebody is, and what of it is believed."""
