"""The shape of a sealed envelope."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SealedEnvelope(BaseModel):
    """A batch of an in-app agent, sealed with AES-256-GCM under a key of its project."""

    model_config = ConfigDict(extra="allow")

    encrypted_payload: Annotated[
        str,
        Field(
            description='base64url of nonce (12 bytes), ciphertext and tag (16) of `{"events":[…],"metrics":[…]}`;'
            " no additional data, padding optional.",
            examples=["AAECAwQFBgcICQoLPCCzbaCLtmive8zWncsVCPek7leDWWUnZRp71I4l85MHUYcFEjOwgknA"],
        ),
    ]
    batch_id: Annotated[str, Field(max_length=128, examples=["1795304486234-7c48ac5b"])] | None = None
    agent_version: str | None = None
    guard_version: str | None = None
    guard_core_version: str | None = None
