"""What the FastAPI peers of the benches share: the engine of a worker, the application, and how both are served."""

import os
import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine

# each worker imports this module, and has an engine of its own
engine = create_async_engine(os.environ.get("PEER_DATABASE_URL", "postgresql+asyncpg://"), pool_size=24, max_overflow=0)


@asynccontextmanager
async def lifespan(_: FastAPI):
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "OK"}


def serve(module: str) -> None:
    """Serves the application that this module adds its routes to, as the arguments of the command say."""
    port, workers, url = sys.argv[1:]
    os.environ["PEER_DATABASE_URL"] = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    sys.path.insert(0, os.path.dirname(__file__))
    uvicorn.run(
        f"{module}:app",
        host="127.0.0.1",
        port=int(port),
        workers=int(workers),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
