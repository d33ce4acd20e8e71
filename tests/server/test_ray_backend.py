"""Calls of a back half on Ray: what is made again, how often, and what is said at last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from isthmus.errors import BackHalfError, BusyError, IsthmusError, UnavailableError
from isthmus.server.config import RayConfig
from isthmus.server.fleet import Generation

FEATURES = np.zeros((2, 3), np.float32)
OUTPUTS = [np.ones((2, 1), np.float32)]
GENERATION = cast(Generation, SimpleNamespace(name="net", version="0123456789ab"))


class Call:
    """Stands for Serve's response: an exception, an answer, or nothing for ever."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.cancelled = False

    def __await__(self) -> Any:
        return self._run().__await__()

    async def _run(self) -> Any:
        if self.outcome is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Stands for Serve's handle."""

    def __init__(self, *outcomes: Any) -> None:
        self._outcomes = list(outcomes)
        self.calls: list[Call] = []
        self.keys: list[Any] = []
        self.compute = SimpleNamespace(remote=self._remote)

    def _remote(self, key: Any, features: Any) -> Call:
        self.keys.append(key)
        self.calls.append(Call(self._outcomes.pop(0)))
        return self.calls[-1]


def compute(handle: Handle, **options: Any) -> Any:
    from isthmus.server.ray_backend import RayBackend

    backend = RayBackend(handle, RayConfig(**{"timeout_s": 0.02, **options}), 5.0)
    return asyncio.run(backend.compute(GENERATION, FEATURES))


@pytest.fixture(autouse=True)
def ray(require_package: Callable[[str], None]) -> None:
    require_package("ray")


def lost() -> list[Exception]:
    """What a replica, its node and its results can be lost with."""
    from ray.exceptions import (
        ActorDiedError,
        ActorUnavailableError,
        NodeDiedError,
        OwnerDiedError,
        WorkerCrashedError,
    )

    return [
        ActorDiedError(),
        ActorUnavailableError("gone", None),
        NodeDiedError("gone"),
        OwnerDiedError("00", None, ""),
        WorkerCrashedError(),
    ]


@pytest.mark.parametrize("k", range(5))
def test_what_was_lost_is_computed_again(k: int) -> None:
    handle = Handle(lost()[k], OUTPUTS)
    assert compute(handle) is OUTPUTS
    assert handle.keys == [("net", "0123456789ab")] * 2


def test_a_call_that_hangs_is_cancelled_and_made_again() -> None:
    handle = Handle(None, OUTPUTS)
    assert compute(handle) is OUTPUTS
    assert [call.cancelled for call in handle.calls] == [True, False]


def test_attempts_are_bounded() -> None:
    handle = Handle(*lost()[:3])
    with pytest.raises(UnavailableError) as caught:
        compute(handle, attempts=3)
    assert caught.value.status == 503
    assert len(handle.calls) == 3


def test_time_is_bounded() -> None:
    from isthmus.server.ray_backend import RayBackend

    handle = Handle(*[None] * 100)
    backend = RayBackend(handle, RayConfig(timeout_s=0.02, attempts=100), 0.1)
    with pytest.raises(UnavailableError, match="no answer"):
        asyncio.run(backend.compute(GENERATION, FEATURES))
    assert len(handle.calls) < 10


def raised(cause: Exception) -> Exception:
    from ray.exceptions import RayTaskError

    return RayTaskError("compute", "traceback", cause)


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (UnavailableError("back_half", "elsewhere"), UnavailableError),
        (BackHalfError("back_half", "failed"), BackHalfError),
        (ValueError("out of\nrange"), BackHalfError),
    ],
)
def test_what_a_replica_raised_is_not_tried_again(
    cause: Exception, error: type[IsthmusError]
) -> None:
    handle = Handle(raised(cause))
    with pytest.raises(error):
        compute(handle)
    assert len(handle.calls) == 1


def test_back_pressure() -> None:
    from ray.serve.exceptions import BackPressureError

    with pytest.raises(BusyError):
        compute(Handle(BackPressureError(num_queued_requests=5, max_queued_requests=5)))
