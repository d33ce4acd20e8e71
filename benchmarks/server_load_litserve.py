"""Decoder and BackHalf behind LitServe, with batches as large as the server's own.

In a module of its own: LitServe's worker processes import the class by name.
"""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import litserve
import numpy as np

from isthmus import BackHalf, Decoder


class Api(litserve.LitAPI):
    """One frame in, the back half's values out."""

    def __init__(self, bundle: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.002)
        self.bundle = bundle

    def setup(self, device: str) -> None:
        """Opens the bundle in the worker's process."""
        self.decoder, self.back_half = Decoder(self.bundle), BackHalf(self.bundle)

    def decode_request(self, request) -> bytes:  # type: ignore[no-untyped-def]
        """The frame out of a body that LitServe has read as JSON: it takes no bytes.

        Without an annotation: as text FastAPI would read it as a parameter of the query.
        """
        return b64decode(request["frame"])

    def predict(self, frames: list[bytes]) -> list[dict[str, Any]]:
        """A batch decoded in C and computed in one call."""
        decoded = self.decoder.decode_batch(frames)
        values = self.back_half(np.stack([one.features for one in decoded]))
        return [
            {"sequence": one.sequence, "outputs": row.tolist()}
            for one, row in zip(decoded, values, strict=True)
        ]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As predict made it."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As it is: JSON."""
        return output


def serve(bundle: Path, port: int) -> None:
    """Runs the server."""
    server = litserve.LitServer(Api(str(bundle)), accelerator="cpu", workers_per_device=1)
    server.run(port=port, num_api_servers=1, log_level="warning", generate_client_file=False)
