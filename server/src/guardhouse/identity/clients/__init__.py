"""OAuth2 clients as their owners keep them."""
