"""People sign in with OpenID Connect."""
