"""The real service behind HTTP on a free port, with a client, in the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from served import Served

from isthmus.server.config import load_config
from isthmus.server.http import HttpServer
from isthmus.server.service import Service

FRAMES = "/v2/models/digits/frames"


class Live:
    """A service behind HTTP and gRPC, with a client."""

    def __init__(self, service: Service, server: HttpServer, client: httpx.AsyncClient) -> None:
        self.service, self.server, self.client = service, server, client

    async def post(self, data: bytes, device: str = "", **headers: str) -> httpx.Response:
        """A frame posted; ``headers`` with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if device:
            named["x-isthmus-device"] = device
        return await self.client.post(FRAMES, content=data, headers=named)

    async def refusal(self, data: bytes) -> dict[str, Any]:
        """The error with which a frame is refused."""
        answer = await self.post(data)
        assert answer.status_code >= 400, answer.content
        found: dict[str, Any] = answer.json()["error"]
        return found


def run(digits: Served, body: Callable[[Live], Awaitable[None]], **sections: Any) -> None:
    """``body`` with a server; quarantine is off unless ``sections`` say otherwise."""
    sections = {"quarantine": {"failures": 0}, "batch": {"workers": 2}, **sections}
    config = load_config(
        None, bundles=[{"path": str(digits.path)}], http={"port": 0}, drain_s=1.0, **sections
    )

    async def main() -> None:
        service = Service(config)
        await service.start()
        server = HttpServer(service)
        task = asyncio.create_task(server.serve())
        limits = httpx.Limits(max_connections=64)
        url = f"http://127.0.0.1:{server.port}"
        try:
            async with httpx.AsyncClient(base_url=url, limits=limits, timeout=20) as client:
                await asyncio.wait_for(body(Live(service, server, client)), 30)
        finally:
            server.stop()
            await asyncio.wait_for(task, 10)
            service.close()

    asyncio.run(main())
