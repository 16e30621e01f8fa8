"""What OTLP's JSON looks like in the OpenAPI document; the protocol's own specification says the rest."""

from pydantic import BaseModel, ConfigDict


class OtlpExport(BaseModel):
    """An export request or response of OTLP in its JSON encoding."""

    model_config = ConfigDict(extra="allow")


class OtlpStatus(BaseModel):
    """A refusal: google.rpc.Status."""

    code: int
    message: str
