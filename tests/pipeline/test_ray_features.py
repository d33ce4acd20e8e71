"""Calibration on Ray Data: the numbers of one process, to the last bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import OptionError
from isthmus_gen import pipeline
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.data import DataSet, Preprocessing, load_data
from isthmus_gen.digits import write_digits_npz
from isthmus_gen.models import load_model, resolve_cut
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import Calibration, calibrate, generate
from isthmus_gen.ray_features import BatchReader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # Ray leaves the files and processes of its nodes to the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # Ray Data sets fields of its own that it no longer wants others to set.
    pytest.mark.filterwarnings("ignore:`[a-z0-9_]+` is deprecated:DeprecationWarning"),
]

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples" / "digits" / "digits.keras"
#: Not a multiple of a batch: the last one is short.
INPUTS = 150


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' calibration set."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits_npz(folder)
    return folder / "digits_calibration.npz"


@pytest.fixture(scope="module")
def cluster(require_package: Callable[[str], None]) -> Iterator[None]:
    """Ray on this machine with two workers' room; calls join it."""
    require_package("ray")
    require_package("pyarrow")
    import ray

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", f"{ROOT / 'host'}:{ROOT / 'generator'}")
        stack.callback(ray.shutdown)
        ray.init(
            address="local", num_cpus=2, object_store_memory=100 << 20, include_dashboard=False,
            log_to_driver=False,
        )  # fmt: skip
        yield


def state(value: Any) -> Any:
    """Everything that an object of statistics holds, arrays as their bytes."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, list | tuple):
        return [state(one) for one in value]
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        return {name: state(one) for name, one in vars(value).items()}
    return value


def test_the_order_of_batches_matters_to_the_numbers() -> None:
    """Sums of floats differ with their order: what the test above would see."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(scale=10.0**k, size=(64, 8)).astype(np.float32) for k in range(3)]

    def seen(order: list[int]) -> Any:
        statistics = TensorStatistics((8,))
        for k in order:
            statistics.update(parts[k])
        return state(statistics)

    assert seen([0, 1, 2]) != seen([2, 1, 0])


@dataclasses.dataclass
class Made:
    """A bundle's files, what it was calibrated with, and the steps that were reported."""

    files: dict[str, bytes]
    calibration: Calibration
    steps: list[tuple[str, int, int]]


def make(data: Path, out: Path, ray: str) -> Made:
    """The bundle, calibrated here or on the cluster."""
    kept: list[Calibration] = []
    steps: list[tuple[str, int, int]] = []

    def calibrate_and_keep(*arguments: Any, **options: Any) -> Calibration:
        kept.append(calibrate(*arguments, **options))
        return kept[0]

    values = {
        "model": MODEL, "cut": "stage2", "calibration": data, "out": out, "limit": INPUTS,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "calibrate", calibrate_and_keep)
        generate(make_options(values), lambda *step: steps.append(step), ray=ray)
    files = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    return Made(files, kept[0], steps)


def test_numbers_and_bundle_are_those_of_one_process(
    calibration: Path, cluster: None, tmp_path: Path
) -> None:
    here = make(calibration, tmp_path / "here", "")
    there = make(calibration, tmp_path / "there", "local")
    assert here.calibration.statistics.inputs == INPUTS
    assert state(there.calibration.statistics) == state(here.calibration.statistics)
    assert state(there.calibration.samples) == state(here.calibration.samples)
    assert there.steps == here.steps
    assert "profile.json" in here.files
    assert there.files == here.files


def test_what_a_worker_refuses_is_said_as_here(
    calibration: Path, cluster: None, tmp_path: Path
) -> None:
    file = tmp_path / "large.npz"
    np.savez(file, x=np.full((70, 8, 8, 1), 3e38, np.float32))
    model = load_model(MODEL)
    cut = resolve_cut(model, "stage2")
    data = load_data(file, limit=2)
    for ray in ("", "local"):
        with pytest.raises(OptionError, match="beyond float32"):
            calibrate(model, cut, data, Preprocessing.parse("10,0"), ray=ray)


def test_a_cluster_that_is_not_there(
    calibration: Path, monkeypatch: pytest.MonkeyPatch, require_package: Callable[[str], None]
) -> None:
    require_package("ray")
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def init(**_: Any) -> None:
        raise ConnectionError("nobody\nlistens")

    monkeypatch.setattr(ray, "init", init)
    model = load_model(MODEL)
    cut = resolve_cut(model, "stage2")
    data = load_data(calibration, limit=4)
    with pytest.raises(OptionError, match="nobody listens") as caught:
        calibrate(model, cut, data, Preprocessing.parse("none"), ray="127.0.0.1:1")
    assert caught.value.path == "--ray"


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2], [2, 0, 1], [1, 1, 0]])
def test_batches_by_their_number(tmp_path: Path, order: list[int]) -> None:
    file = tmp_path / "x.npz"
    x = np.arange(10, dtype=np.float32).reshape(10, 1)
    np.savez(file, x=x)
    read = BatchReader(load_data(file), 4)
    assert [read(k).ravel().tolist() for k in order] == [
        x[4 * k : 4 * k + 4].ravel().tolist() for k in order
    ]


def test_pictures_by_their_number(tmp_path: Path) -> None:
    """Packed pictures are decoded where they are asked for, and no others."""
    import io

    from PIL import Image

    contents = []
    for k in range(5):
        buffer = io.BytesIO()
        Image.fromarray(np.full((2, 2, 3), 40 * k, np.uint8)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    offset = np.cumsum([0, *map(len, contents)])
    file = tmp_path / "pictures.npz"
    np.savez(file, data=np.frombuffer(b"".join(contents), np.uint8), offset=offset)
    data: DataSet = load_data(file)
    read = BatchReader(data, 2)
    assert [read(k)[:, 0, 0, 0].tolist() for k in (2, 0)] == [[160], [0, 40]]
