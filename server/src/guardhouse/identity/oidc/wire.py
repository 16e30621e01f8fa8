"""Shapes of sign-in and sign-out."""

from typing import Annotated

from pydantic import BaseModel, Field


class SignedOut(BaseModel):
    """The answer to signing out."""

    end_session_url: Annotated[
        str | None, Field(description="Go there to sign out of the issuer too; null: it does not offer that.")
    ]


class LogoutRequest(BaseModel):
    """What an issuer sends to `POST /auth/oidc/backchannel-logout`."""

    logout_token: str
