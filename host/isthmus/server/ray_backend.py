"""Calls of the back half on a Ray cluster: retried when a replica or its node is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from isthmus.errors import BackHalfError, BusyError, IsthmusError, UnavailableError
from isthmus.server.config import RayConfig
from isthmus.server.fleet import Generation

__all__ = ["RayBackend"]

_log = structlog.get_logger("isthmus.server")

#: What says that the work was lost, and nothing about the work.
_LOST = (
    DeploymentUnavailableError, NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError,
)  # fmt: skip
_PAUSE_S = 0.1


class RayBackend:
    """A :class:`~isthmus.server.split_engine.Backend` over the handle of the back half.

    The features of a call are one numpy array, which Ray puts into its object store. Computing has
    no memory, so that a call whose replica died is made again: ``attempts`` times, and within
    ``request_s``.
    """

    def __init__(self, handle: Any, config: RayConfig, request_s: float) -> None:
        self._handle = handle
        self._config = config
        self._request_s = request_s

    async def warm(self, generations: Sequence[Generation]) -> None:
        """One call of each back half."""
        for one in generations:
            await self.compute(one, np.zeros((1, *one.profile.tensor.shape), np.float32))

    async def compute(
        self, generation: Generation, features: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """The outputs; UnavailableError, BusyError, BackHalfError."""
        key = (generation.name, generation.version)
        end = perf_counter() + self._request_s
        why = ""
        for attempt in range(self._config.attempts):
            left = end - perf_counter()
            if left <= 0.0:
                break
            call = self._handle.compute.remote(key, features)
            try:
                async with asyncio.timeout(min(left, self._config.timeout_s)):
                    outputs: list[npt.NDArray[np.float32]] = await call
                return outputs
            except TimeoutError:
                call.cancel()
                why = f"no answer in {self._config.timeout_s:g} s"
            except _LOST as error:
                why = type(error).__name__
                await asyncio.sleep(_PAUSE_S * attempt)
            except BackPressureError as error:
                raise BusyError("back_half", "has too many calls in its queue") from error
            except RayTaskError as error:
                raise _cause(error) from None
            _log.warning("back half lost", attempt=attempt + 1, why=why, model=generation.name)
        raise UnavailableError(
            "back_half", f"cannot be reached ({why})", remedy="send the frame again"
        )

    async def aclose(self) -> None:
        """Nothing to end: the handle belongs to Serve."""


def _cause(error: RayTaskError) -> IsthmusError:
    """What a replica raised, as this process would have."""
    cause = error.cause
    if isinstance(cause, IsthmusError):
        return cause.with_traceback(None)
    return BackHalfError("back_half", f"failed ({' '.join(str(cause).split())[:200]})")
