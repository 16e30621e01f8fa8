"""OAuth2 clients, and the access tokens this server signs for them."""
