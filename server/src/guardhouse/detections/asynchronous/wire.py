"""Shapes of batches and asynchronous calls on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.records.wire import RecordedDetection
from guardhouse.detections.wire import Channel, DetectionConfig, DetectionRequest, DetectionShape
from guardhouse.foundation.pages import Pagination

State = Literal["queued", "running", "completed", "failed"]


class BatchItem(DetectionRequest):
    """One text of a batch, with an id of your own."""

    model_config = ConfigDict(title="DetectionBatchItem")

    id: Annotated[str | None, Field(max_length=200, description="Comes back as `request_id`.")] = None


class BatchRequest(BaseModel):
    """Texts to judge; `config`, `policy` and `channel` hold for every item that says nothing else."""

    model_config = ConfigDict(title="DetectionBatchRequest")

    requests: Annotated[list[BatchItem], Field(min_length=1, max_length=1_000)]
    config: DetectionConfig | None = None
    channel: Channel | None = None
    policy: UUID | None = None
    webhook_url: str | None = None


class ItemProblem(BaseModel):
    """Why an item has no verdict: a problem document."""

    model_config = ConfigDict(title="DetectionItemProblem", extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None = None


class BatchShape(BaseModel):
    """`results[i]` and `errors[i]` belong to `requests[i]`; exactly one of them is null."""

    model_config = ConfigDict(title="DetectionBatchAnswer")

    id: UUID
    results: list[DetectionShape | None]
    errors: list[ItemProblem | None]
    total_processing_time_ms: int
    successful_count: int
    failed_count: int
    warnings: list[str]


class AcceptedShape(BaseModel):
    """What was taken for the worker, and where to look."""

    model_config = ConfigDict(title="DetectionAccepted")

    id: UUID
    request_id: str
    status: State
    status_url: str
    estimated_completion_seconds: int
    webhook_url: str | None
    total: Annotated[int | None, Field(description="Items of a batch.")] = None
    created_at: datetime | None = None


class WaitingShape(BaseModel):
    """A text whose verdict is not there yet, or was given up."""

    model_config = ConfigDict(title="DetectionWaiting")

    id: UUID
    request_id: str
    status: Literal["queued", "running", "failed"]
    error: dict[str, Any] | None
    created_at: datetime


class BatchItemShape(BaseModel):
    """An item of a batch as far as it is."""

    model_config = ConfigDict(title="DetectionBatchItemState")

    place: int
    id: UUID
    request_id: str
    status: State
    result: RecordedDetection | None
    error: ItemProblem | None


class BatchItems(BaseModel):
    """A page of items in their order."""

    model_config = ConfigDict(title="DetectionBatchItems")

    data: list[BatchItemShape]
    pagination: Pagination


class BatchState(BaseModel):
    """An asynchronous batch with a page of its items."""

    model_config = ConfigDict(title="DetectionBatch")

    id: UUID
    request_id: str
    status: State
    total: int
    successful_count: int
    failed_count: int
    created_at: datetime
    completed_at: datetime | None
    items: BatchItems
