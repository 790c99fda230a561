"""Events over HTTP as FastAPI would take them: checked by Pydantic, inserted by SQLAlchemy, answered after the commit.

usage: fastapi_ingest.py <port> <workers> <postgres url>

It answers at the addresses of Millrace, so that both are posted the same bytes.
"""

from datetime import datetime

from fastapi_peer import app, engine, serve
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Table, Text, insert
from sqlalchemy.dialects.postgresql import ARRAY


class ChatEvent(BaseModel):
    event_id: str | None = None
    stream_id: str = Field(min_length=1)
    user_id: str = Field(min_length=1)
    username: str | None = None
    message: str
    emotes: list[str] | None = None
    timestamp: datetime


class Accepted(BaseModel):
    accepted: int


chat_events = Table(
    "chat_events",
    MetaData(),
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("event_id", Text),
    Column("stream_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("username", Text),
    Column("message", Text, nullable=False),
    Column("emotes", ARRAY(Text)),
    Column("timestamp", DateTime(timezone=True), nullable=False),
)


@app.post("/api/topics/telemetra.events.chat", status_code=202)
async def take(posted: ChatEvent | list[ChatEvent]) -> Accepted:
    rows = [event.model_dump() for event in (posted if isinstance(posted, list) else [posted])]
    async with engine.begin() as connection:
        await connection.execute(insert(chat_events), rows)
    return Accepted(accepted=len(rows))


if __name__ == "__main__":
    serve("fastapi_ingest")
