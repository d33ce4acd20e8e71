"""Fixtures of the codec's tests: every implementation behind one name, and fixed seeds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The helpers beside this file, under names of their own (tests are no package).
sys.path.insert(0, str(Path(__file__).resolve().parent))

from codec_backends import BACKENDS, Backend, make_factory

from isthmus.profile import Profile

settings.register_profile(
    "codec",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("codec")


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for emitted trees and built programs."""
    return tmp_path_factory.mktemp("codec")


@pytest.fixture(scope="session", params=[*BACKENDS, "independent"])
def backend(request: pytest.FixtureRequest, work: Path) -> Callable[[Profile], Backend]:
    """``backend(profile)``: each implementation in turn, and the independent one."""
    return make_factory(request.param, work)


@pytest.fixture(scope="session", params=["reference", "native"])
def decoding_backend(request: pytest.FixtureRequest, work: Path) -> Callable[[Profile], Backend]:
    """The same for what decodes and reports errors."""
    return make_factory(request.param, work)


@pytest.fixture(scope="session")
def native(work: Path) -> Callable[[Profile], Backend]:
    """The C codec through cffi."""
    return make_factory("native", work)
