"""Front halves over a large calibration set on Ray Data: ``feature_batches``.

Ray maps batch numbers to features; the batches are those of one process, they come back in their
order, and whoever asked goes on as ever. So every number that is made of them is the same, to the
last bit, whatever the number of workers: nothing is added up anywhere else.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import ERROR_TABLE, IsthmusError, MissingExtraError, OptionError
from isthmus_gen.data import DataSet, Preprocessing
from isthmus_gen.models import Cut, LoadedModel, load_model, resolve_cut
from isthmus_gen.models.base import Floats

__all__ = ["LOCAL", "feature_batches"]

#: The address that starts Ray on this machine, for the length of the call.
LOCAL = "local"
#: What decides how TensorFlow adds up: a worker's is this process's.
_TENSORFLOW = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class BatchReader:
    """Batch i of ``data.batches(size)``. Forward is one pass; backward begins it anew."""

    def __init__(self, data: DataSet, size: int) -> None:
        self._data = data
        self._size = size
        self._next = 0
        self._pass: Iterator[tuple[npt.NDArray[Any], Any]] = iter(())

    def __call__(self, index: int) -> npt.NDArray[Any]:
        """The inputs [<= size, ...] of batch ``index``."""
        rows = self._data.rows(index * self._size, (index + 1) * self._size)
        if rows is not None:
            return rows
        if index < self._next or self._next == 0:
            self._pass, self._next = self._data.batches(self._size), 0
        while True:
            x, _ = next(self._pass)
            self._next += 1
            if self._next > index:
                return x


class FrontHalf:
    """A worker: the network, opened once, over batches by their number."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        name: str,
        cut: str,
        data: DataSet,
        preprocessing: Preprocessing,
        size: int,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="isthmus-")
        for path, content in files.items():
            file = Path(self._folder.name) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self._model = load_model(Path(self._folder.name) / name)
        self._cut = resolve_cut(self._model, cut)
        self._preprocessing = preprocessing
        self._read = BatchReader(data, size)

    def __call__(self, batch: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Any]:
        """The features of one batch number, a row for each input; a refusal beside a row of 0."""
        (index,) = batch["id"].tolist()
        try:
            x = self._preprocessing.apply(self._read(index))
            features = self._model.features(self._cut, x)
        except IsthmusError as error:
            empty = np.zeros((1, *self._cut.shape), np.float32)
            return {"features": empty, "error": [json.dumps(error.as_dict())]}
        return {"features": features, "error": [""] * len(features)}


def feature_batches(
    model: LoadedModel,
    cut: Cut,
    data: DataSet,
    preprocessing: Preprocessing,
    *,
    size: int,
    address: str = LOCAL,
) -> Iterator[Floats]:
    """The cut tensor for successive batches of ``size`` inputs, computed on a Ray cluster.

    ``address`` is "local", "auto" (the cluster of this machine) or HOST:PORT. The data file must
    lie at the same path on every node; the network is sent there. Raises MissingExtraError,
    OptionError (no cluster there), and what the front half raises.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            str(error.name), "is not installed", remedy='pip install "isthmus[ray]"'
        ) from error
    count = -(-len(data) // size)
    with _cluster(address), _in_order():
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        workers = max(1, min(count, int(resources.get("CPU", 1))))
        inputs = ray.data.range(count, override_num_blocks=count)
        features = inputs.map_batches(
            FrontHalf,
            batch_size=1,
            fn_constructor_args=(
                _files(model.path), model.path.name, cut.name, data, preprocessing, size,
            ),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_cpus=1,
            runtime_env={"env_vars": _environment()},
        )  # fmt: skip
        for batch in features.iter_batches(batch_size=size, batch_format="numpy"):
            for text in batch["error"].tolist():
                if text:
                    raise _refusal(json.loads(text))
            yield np.asarray(batch["features"], np.float32)


def _refusal(content: Mapping[str, Any]) -> IsthmusError:
    """A worker's error as this process would have raised it."""
    cls = next(row.cls for row in ERROR_TABLE if row.code == content["code"])
    return cls(
        content["path"], content["what"], allowed=content["allowed"], remedy=content["remedy"]
    )


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Ray at ``address``; as it was where the program has started it already."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        why = " ".join(str(error).split())[:200]
        raise OptionError(
            "--ray", f"{address!r:.80} cannot be reached ({why})",
            allowed="local, auto or HOST:PORT", remedy="start it with `ray start --head`",
        ) from error  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _in_order() -> Iterator[None]:
    """Ray Data gives blocks in the order of their inputs, draws no bars and tells no plans."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    try:
        yield
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before


def _files(path: Path) -> dict[str, bytes]:
    """A network's file, or the files of its folder, by their paths from where it lies."""
    found = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in found}


def _environment() -> dict[str, str]:
    """TensorFlow's settings here, with what it would choose by itself spelt out."""
    known = {name: os.environ[name] for name in _TENSORFLOW if name in os.environ}
    threads = {"TF_NUM_INTRAOP_THREADS": str(len(os.sched_getaffinity(0)))}
    return {**threads, **known}
