"""The anchor of the intake benches: FastAPI taking `list[Model]`, written through the SQLAlchemy ORM.

The way the framework's own tutorials write it: one Pydantic model per item, one mapped object per row, one
commit per request. It does the same job: a unique key, a look-up of what is stored, an outcome per item, and as
many indexes as ours. `app` and `host` name the shape of the items.
Usage: `python bench/anchors/orm_app.py <postgresql url> <app|host> <port>`.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model
from sqlalchemy import BigInteger, DateTime, Double, Index, Integer, String, Text, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeEngine

TEXT = (str | None, Text())
SHAPES: dict[str, dict[str, tuple[Any, TypeEngine[Any]]]] = {
    "app": {
        "idempotency_key": (str, String(128)),
        "timestamp": (datetime, DateTime(timezone=True)),
        "event_type": (str, String(64)),
        "ip_address": TEXT,
        "country": TEXT,
        "user_agent": TEXT,
        "action_taken": TEXT,
        "reason": TEXT,
        "endpoint": TEXT,
        "method": TEXT,
        "status_code": (int | None, Integer()),
        "response_time": (float | None, Double()),
        "decorator_type": TEXT,
        "rule_type": TEXT,
        "pattern_matched": TEXT,
        "handler_name": TEXT,
        "metadata": (dict[str, Any], JSONB()),
    },
    "host": {
        "seq": (int, BigInteger()),
        "timestamp": (datetime, DateTime(timezone=True)),
        "pid": (int, Integer()),
        "tid": (int | None, Integer()),
        "start": (int | None, BigInteger()),
        "syscall": (str, String(64)),
        "args": (dict[str, Any], JSONB()),
        "ret": (int | None, BigInteger()),
    },
}


KEYS = {
    "app": ("idempotency_key",),
    "host": ("seq", "start", "pid"),
}  # unique together; the first is looked up
LOOKED_UP = {"app": ("endpoint",), "host": ("pid",)}  # what lists filter by


class Result(BaseModel):
    """What became of one item."""

    index: int
    id: str | None
    status: str


class Base(DeclarativeBase):
    """The mapped classes of this program."""


def mapped_class(shape: str) -> type[Any]:
    """Return the mapped class of a shape: a serial key and one column per member."""
    columns: dict[str, Any] = {"__tablename__": f"anchor_{shape}"}
    columns["id"] = mapped_column(BigInteger(), primary_key=True, autoincrement=True)
    for name, (_, kind) in SHAPES[shape].items():
        # `metadata` is taken on a declarative class
        columns[f"{name}_" if name == "metadata" else name] = mapped_column(name, kind)
    columns["__table_args__"] = (
        UniqueConstraint(*KEYS[shape]),
        *(Index(f"anchor_{shape}_{name}", name, "id") for name in LOOKED_UP[shape]),
    )
    return type("Row", (Base,), columns)


def create_app(url: str, shape: str) -> FastAPI:
    """Return the application; its table is made anew at the start."""
    engine = create_async_engine(url, pool_size=10)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    row_class = mapped_class(shape)
    fields: dict[str, Any] = {name: (kind, ...) for name, (kind, _) in SHAPES[shape].items()}
    model: type[BaseModel] = create_model("Item", **fields)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    key = KEYS[shape][0]

    async def take(items: list[Any]) -> list[Result]:
        async with sessions() as session, session.begin():
            column = getattr(row_class, key)
            found = await session.scalars(select(column).where(column.in_([getattr(i, key) for i in items])))
            stored = set(found)
            fresh = [item for item in items if getattr(item, key) not in stored]
            session.add_all(
                row_class(**{f"{n}_" if n == "metadata" else n: v for n, v in item.model_dump().items()})
                for item in fresh
            )
        return [
            Result(
                index=index,
                id=str(getattr(item, key)),
                status="duplicate" if getattr(item, key) in stored else "accepted",
            )
            for index, item in enumerate(items)
        ]

    take.__annotations__["items"] = list[model]
    app.post("/items", status_code=201)(take)
    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1], sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[3]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
