"""Shapes of the short paths: those of earlier products, lenient towards members they do not know."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.webhooks import sign
from guardhouse.webhooks.legacy_bodies import DEFAULT_NAME
from guardhouse.webhooks.queries import Delivery
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.wire import Description, Kinds, Secret, Url

HIDDEN = "***"


class WebhookRegistration(BaseModel):
    """What `POST /webhooks/register` takes; members it does not know are ignored."""

    model_config = ConfigDict(extra="ignore")

    url: Url
    events: Kinds = [DEFAULT_NAME]
    secret_token: Secret | None = None
    description: Description | None = None


class RegisteredWebhook(BaseModel):
    """An endpoint as the short paths show it."""

    webhook_id: UUID
    url: str
    events: list[str]
    secret_token: Annotated[str, Field(examples=[HIDDEN])] = HIDDEN
    is_active: bool
    created_at: str
    last_triggered_at: str | None


class NewRegisteredWebhook(RegisteredWebhook):
    """A new endpoint; ``secret`` only when it was made here."""

    secret: ShownOnce = None


class RegisteredList(BaseModel):
    """The caller's endpoints."""

    webhooks: list[RegisteredWebhook]
    total: int


class ShortTestRequest(BaseModel):
    """Which endpoint, or which URL, gets a sample."""

    model_config = ConfigDict(extra="ignore")

    webhook_id: UUID | None = None
    url: Url | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "ShortTestRequest":
        if (self.webhook_id is None) == (self.url is None):
            raise ValueError("give webhook_id or url")
        return self


class ShortDeliveryShape(BaseModel):
    """A delivery as the short paths show it."""

    delivery_id: UUID
    message_id: str
    event: str
    status: str
    status_code: int | None
    attempts: int
    error: str | None
    created_at: str
    delivered_at: str | None


class ShortDeliveryList(BaseModel):
    """The newest deliveries of an endpoint."""

    webhook_id: UUID
    deliveries: list[ShortDeliveryShape]


def registered_shape(endpoint: Endpoint) -> RegisteredWebhook:
    """Return an endpoint as the short paths show it."""
    return RegisteredWebhook(
        webhook_id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.kinds),
        is_active=endpoint.takes,
        created_at=rfc3339(endpoint.created_at),
        last_triggered_at=rfc3339(endpoint.last_tried_at) if endpoint.last_tried_at else None,
    )


def short_delivery(found: Delivery) -> ShortDeliveryShape:
    """Return a delivery as the short paths show it."""
    delivered = found.finished_at if found.state == "delivered" else None
    return ShortDeliveryShape(
        delivery_id=found.id,
        message_id=sign.webhook_id(found.message_id),
        event=found.kind,
        status=found.state,
        status_code=found.last_status,
        attempts=found.tries,
        error=found.last_error,
        created_at=rfc3339(found.created_at),
        delivered_at=rfc3339(delivered) if delivered else None,
    )
