"""Events of Spark jobs over HTTP as FastAPI would take them: checked by Pydantic, put into raw_logs by SQLAlchemy, answered
after the commit.

usage: fastapi_logs.py <port> <workers> <postgres url>

It answers at the address of Millrace, so that both are posted the same bytes.
"""

from datetime import datetime
from typing import Literal

from fastapi import Response
from fastapi_peer import app, engine, serve
from pydantic import BaseModel, ConfigDict, model_validator
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ENUM, JSONB, insert

EVENTS = ("SparkListenerJobStart", "SparkListenerTaskEnd", "SparkListenerJobEnd")


class JobEvent(BaseModel):
    model_config = ConfigDict(extra="allow")
    event: Literal["SparkListenerJobStart", "SparkListenerTaskEnd", "SparkListenerJobEnd"]
    job_id: int
    timestamp: datetime
    user: str | None = None
    task_id: str | None = None

    @model_validator(mode="after")
    def names_its_task(self):
        if self.event == "SparkListenerTaskEnd" and not self.task_id:
            raise ValueError("a task has ended, and task_id does not say which")
        return self


class Taken(BaseModel):
    stored: int
    duplicates: int


raw_logs = Table(
    "raw_logs",
    MetaData(),
    Column("event", ENUM(*EVENTS, name="event_type_enum", create_type=False), nullable=False),
    Column("job_id", Integer, nullable=False),
    Column("user", Text),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    Column("task_id", Text),
    Column("log", JSONB, nullable=False),
)


@app.post("/logs/ingest", status_code=201)
async def take(posted: JobEvent | list[JobEvent], response: Response) -> Taken:
    rows = [
        {
            "event": each.event,
            "job_id": each.job_id,
            "user": each.user,
            "timestamp": each.timestamp,
            "task_id": each.task_id,
            "log": each.model_dump(mode="json", exclude_none=True),
        }
        for each in (posted if isinstance(posted, list) else [posted])
    ]
    async with engine.begin() as connection:
        result = await connection.execute(insert(raw_logs).values(rows).on_conflict_do_nothing())
    if result.rowcount == 0:
        response.status_code = 200
    return Taken(stored=result.rowcount, duplicates=len(rows) - result.rowcount)


if __name__ == "__main__":
    serve("fastapi_logs")
