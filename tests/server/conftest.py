"""Fixtures of the server's tests. Helpers lie beside this file, under names of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "codec"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from benchmarks.mqtt_broker import Broker, running_broker  # noqa: E402
from served import Served, make_served  # noqa: E402


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as .npz files."""
    from isthmus_gen.digits import write_digits_npz

    folder = tmp_path_factory.mktemp("digits")
    write_digits_npz(folder)
    return folder


@pytest.fixture(scope="session")
def digits(digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Whole frames of one slice, with class names."""
    return make_served(digits_data, tmp_path_factory.mktemp("bundles") / "digits")


@pytest.fixture(scope="session")
def digits_packets(digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Frames in packets of at most 40 bytes."""
    return make_served(digits_data, tmp_path_factory.mktemp("bundles") / "packets", mtu=40)


@pytest.fixture(scope="module")
def broker(
    require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """A real broker of the tests in one file."""
    with running_broker(require_tool("mosquitto"), tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A root of each test's own, since tests share a broker."""
    return f"tests/{abs(hash(request.node.nodeid))}"
