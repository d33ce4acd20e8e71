"""All three codecs on the same networks and cuts, in one table and one plot for each network.

    python -m benchmarks.codecs_compared [--json] [--quick] [--network NAME ...] [--codec NAME ...]

Bundles are made as `isthmus generate --codec ...` makes them and measured as `isthmus evaluate`
measures them; ../shared/data (or ISTHMUS_DATA) holds networks and pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.rate_models import TASKS, Task
from benchmarks.sections import write_section
from isthmus.bundle import Bundle
from isthmus_gen.data import load_data
from isthmus_gen.evaluate import Row, compare_bundles
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate

ROOT = Path(__file__).resolve().parents[1]

__all__ = ["CODECS", "NETWORKS", "Found", "Network", "load_results", "main", "write_results"]

CODECS = ("lightweight", "near-lossless", "bottleneck")
_QUICK = 24


@dataclass(frozen=True)
class Network:
    """A network of ``benchmarks.rate_models``, its cuts, and the bottlenecks tried at each.

    ``preprocess`` is how its inputs are prepared; a bottleneck is (channels, stride).
    """

    task: str
    preprocess: str
    bottlenecks: Mapping[str, tuple[tuple[int, int], ...]]


NETWORKS = (
    Network(
        "resnet8",
        "none",
        {
            "activation_2": ((16, 2), (32, 4)),
            "activation_4": ((32, 2), (32, 4)),
            "activation_6": ((16, 4), (16, 8)),
        },
    ),
    Network("vww", "unit", {"activation_11": ((32, 2), (16, 2))}),
)
#: What is asked of each codec; the first rung is the default one.
OPTIONS: dict[str, dict[str, Any]] = {
    "lightweight": {"levels": (4, 2, 3, 6, 8)},
    "near-lossless": {"bounds": (0, 1, 2, 4)},
    "bottleneck": {"levels": (8,)},
}


@dataclass(frozen=True)
class Found:
    """One network's table: ``rows`` of every bundle, of the whole network and of the rivals."""

    network: str
    title: str
    inputs: int
    calibration_inputs: int
    training_inputs: int
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        shapes = {cut: list(shape) for cut, shape in self.shapes.items()}
        rows = [row.as_dict() for row in self.rows]
        return {**self.__dict__, "shapes": shapes, "rows": rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Found:
        """What :meth:`as_dict` gave."""
        shapes = {cut: tuple(shape) for cut, shape in values["shapes"].items()}
        rows = tuple(Row.from_dict(row) for row in values["rows"])
        return cls(**{**values, "shapes": shapes, "rows": rows})


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the section, the JSON and the plots; 3 without data."""
    parser = argparse.ArgumentParser(prog="benchmarks.codecs_compared", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="one cut, few inputs: a test")
    parser.add_argument(
        "--network", action="append", choices=[n.task for n in NETWORKS], metavar="NAME",
        help="measure these alone; the results file keeps the others",
    )  # fmt: skip
    parser.add_argument(
        "--codec", action="append", choices=CODECS, metavar="NAME", help="these codecs alone"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    if not (data / "models").is_dir():
        print(f"no data at {data}: set ISTHMUS_DATA to their folder", file=sys.stderr)
        return 3
    wanted = [n for n in NETWORKS if not options.network or n.task in options.network]
    codecs = [name for name in CODECS if not options.codec or name in options.codec]
    found = [measure(network, data, codecs, quick=options.quick) for network in wanted]
    kept = load_results(options.out / "results" / "codecs_compared.json")
    by_name = {one.network: one for one in (*kept, *found)}
    found = [by_name[n.task] for n in NETWORKS if n.task in by_name]
    write_results(found, options.out)
    if options.json:
        print(json.dumps({"networks": [one.as_dict() for one in found]}))
    return 0


def measure(network: Network, data: Path, codecs: list[str], *, quick: bool = False) -> Found:
    """Every bundle of a network, and their table on the test inputs."""
    (task,) = (task for task in TASKS if task.name == network.task)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = _write_inputs(task, data, place, quick=quick)
        bundles = []
        for name, options in _asked(network, codecs, quick=quick):
            began = time.monotonic()
            bundles.append(_bundle(task, network, data, files, place / name, options))
            print(f"{task.name}, {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        tested = load_data(files["test"])
        compared = compare_bundles(bundles, tested)
        shapes = {
            found.cut: bundle.profile.tensor.shape
            for bundle, found in zip(bundles, compared.evaluations, strict=True)
            if found.bottleneck is None
        }
        counts = {part: len(load_data(file)) for part, file in files.items()}
    return Found(
        task.name, task.title, counts["test"], counts["calibration"], counts["training"], shapes,
        compared.rows,
    )  # fmt: skip


def _asked(
    network: Network, codecs: list[str], *, quick: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A name and the options of each bundle; ``quick``: the first cut, one bottleneck."""
    for cut, sizes in list(network.bottlenecks.items())[: 1 if quick else None]:
        for codec in codecs:
            options = {"cut": cut, "codec": codec, **OPTIONS[codec]}
            if codec != "bottleneck":
                yield f"{cut}-{codec}", options
                continue
            for channels, stride in sizes[: 1 if quick else None]:
                size = {"channels": channels, "stride": stride}
                yield f"{cut}-{codec}-{channels}-{stride}", {**options, **size}


def _bundle(
    task: Task,
    network: Network,
    data: Path,
    files: Mapping[str, Path],
    out: Path,
    options: Mapping[str, Any],
) -> Bundle:
    """The bundle that ``isthmus generate`` writes for a Cortex-M4."""
    part = "training" if options["codec"] == "bottleneck" else "calibration"
    asked = {
        "model": data / task.model, "calibration": files[part], "out": out,
        "target": "cortex-m4f", "preprocess": network.preprocess, **options,
    }  # fmt: skip
    return generate(make_options(asked)).bundle


def _write_inputs(task: Task, data: Path, place: Path, *, quick: bool) -> dict[str, Path]:
    """Calibration, training and test inputs as files, by part."""
    parts = {
        "calibration": task.calibration.load(data, task.size, task.calibration.most),
        "test": task.test.load(data, task.size, task.test.most),
    }
    if task.training is not None:
        parts["training"] = task.training.load(data, task.size, task.training.most)
    else:
        parts["training"] = (_crops(data, task), None)
    files = {}
    for name, (x, y) in parts.items():
        some = slice(0, _QUICK if quick else None)
        arrays = {"x": x[some]} if y is None else {"x": x[some], "y": y[some]}
        files[name] = place / f"{name}.npz"
        np.savez(files[name], **arrays)
    return files


def _crops(data: Path, task: Task, each: int = 12, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Pictures to train on where there are few: ``each`` random squares of every other picture.

    Of sets that the test has no part in; without labels, the whole network's answers are the aim.
    """
    from PIL import Image

    assert task.size is not None
    random = np.random.default_rng(seed)
    out = []
    for part in _PICTURES:
        for picture in load_data(data / part, limit=None, resize=True, input_shape=(224, 224, 3)).x:
            for _ in range(each):
                side = int(random.integers(task.size[0], picture.shape[0] + 1))
                top, left = (int(random.integers(0, picture.shape[0] - side + 1)) for _ in range(2))
                square = Image.fromarray(picture).crop((left, top, left + side, top + side))
                out.append(np.asarray(square.resize(task.size[::-1], Image.Resampling.BILINEAR)))
    return random.permutation(np.stack(out))


_PICTURES = ("coco/train2017_64_packed.npz", "imagenet/nips17_100_224px.npz")


def load_results(file: Path) -> list[Found]:
    """What :func:`write_results` kept in ``file``; nothing where there is none."""
    if not file.is_file():
        return []
    found = json.loads(file.read_text(encoding="ascii"))
    return [Found.from_dict(one) for one in found["networks"]]


def write_results(found: list[Found], out: Path) -> None:
    """RESULTS.md's section, results/codecs_compared.json and a plot for each network.

    Section and plots are made from the file, so that a test can make them again.
    """
    from benchmarks.codecs_compared_text import draw, section

    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    networks = []
    for one in found:
        values = _rounded(one.as_dict())
        rows = ",\n  ".join(json.dumps(row) for row in values.pop("rows"))
        networks.append(json.dumps(values)[:-1] + f', "rows": [\n  {rows}\n ]}}')
    file = folder / "codecs_compared.json"
    file.write_text('{"networks": [\n ' + ",\n ".join(networks) + "\n]}\n", encoding="ascii")
    kept = load_results(file)
    for name, drawing in draw(kept).items():
        (folder / name).write_text(drawing, encoding="utf-8")
    write_section(out / "RESULTS.md", "codecs_compared", section(kept))


def _rounded(value: Any) -> Any:
    """Floats to six digits: more is noise, and makes every change of the file a large one."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
