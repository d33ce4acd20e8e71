"""Decoder and BackHalf in a plain FastAPI application."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI, Request

from isthmus import BackHalf, Decoder


def make_app() -> FastAPI:
    """The application, made once in each of uvicorn's processes."""
    bundle = os.environ["ISTHMUS_LOAD_BUNDLE"]
    decoder, back_half = Decoder(bundle), BackHalf(bundle)
    app = FastAPI()

    @app.post("/frames")
    async def frames(request: Request) -> dict[str, Any]:
        decoded = decoder.decode(await request.body())
        values = back_half(decoded.features)
        return {"sequence": decoded.sequence, "outputs": values.tolist()}

    return app
