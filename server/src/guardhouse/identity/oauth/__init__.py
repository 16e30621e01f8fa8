"""The OAuth2 server as clients speak with it: token, introspection, revocation, metadata."""
