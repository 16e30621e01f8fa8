"""External issuers as the admins of a tenant keep them."""
