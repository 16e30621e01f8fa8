"""authlib as an OAuth2 client, imported without its word that httpx has a successor."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]  # has no types
    from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]  # has no types
    from authlib.oauth2.rfc7523 import PrivateKeyJWT  # type: ignore[import-untyped]  # has no types

__all__ = ["AsyncOAuth2Client", "ClientAuth", "PrivateKeyJWT"]
