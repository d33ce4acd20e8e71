"""A request's frames through the service: all of them answered, or the request refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from isthmus.errors import FrameError, IsthmusError, ServerError
from isthmus.server.config import LimitsConfig
from isthmus.server.types import Answer, FrameService, Origin

__all__ = ["http_status", "infer", "most_frames"]


async def infer(
    service: FrameService, frames: Sequence[bytes], origin: Origin, model: str, version: str = ""
) -> list[Answer]:
    """The answers to ``frames``, in their order.

    The protocol has no partial answers: where frames are refused, the first one's error is raised,
    with its place in the request. The others are answered and counted all the same.
    """
    if len(frames) == 1:
        return [await service.answer(frames[0], origin, model=model, version=version)]
    results = await asyncio.gather(
        *(service.answer(frame, origin, model=model, version=version) for frame in frames),
        return_exceptions=True,
    )
    answers: list[Answer] = []
    for i, result in enumerate(results):
        if isinstance(result, IsthmusError):
            raise type(result)(
                f"inputs[0].data[{i}]: {result.path}", result.what,
                allowed=result.allowed, remedy=result.remedy,
            )  # fmt: skip
        if isinstance(result, BaseException):
            raise result
        answers.append(result)
    return answers


def most_frames(limits: LimitsConfig) -> int:
    """How many frames a request may have: more of one device are never taken at once."""
    return min(limits.queue, limits.device_queue)


def http_status(error: IsthmusError) -> int:
    """The HTTP status of a refusal: a bad frame is 422, what is the server's own fault 500."""
    if isinstance(error, ServerError):
        return error.status
    return 422 if isinstance(error, FrameError) else 500
