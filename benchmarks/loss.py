"""Accuracy against packet loss, for every concealment: ResNet-8 and visual wake words.

    python -m benchmarks.loss [--json] [--limit N] [--restorer LOSS] [--out benchmarks]

Bundles are generated as a user generates them, their frames cut into packets of at most 244 bytes
(a BLE packet); test pictures go through the firmware's C front half and the encoder, the packets
through a seeded Gilbert-Elliott channel, what arrives through ``Decoder.decode_slices`` and the
back half. The same levels are lost a second time in the packets of the published scheme, four rows
of one channel. With ``--restorer 0.2`` the bundles get a restorer trained with that share of slices
missing (minutes more), and its curve is drawn, too.

ISTHMUS_DATA names the folder of models and data sets (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same rounding on every processor

from benchmarks.sections import write_section
from isthmus_gen.data import load_data
from isthmus_gen.loss import LossCurves, LossPoint, loss_curves
from isthmus_gen.loss.curves import PACKETS
from isthmus_gen.options import make_options
from isthmus_gen.pipeline import generate

PACKET_BYTES = 244
LOSSES = (0.01, 0.05, 0.1, 0.3)
BURSTS = (None, 5.0)
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Network:
    """A network, where it is cut, and its pictures.

    ``every`` leaves out each picture of that number for calibration and tests on the others, where
    there is one labelled set alone.
    """

    name: str
    model: str
    cut: str
    calibration: str
    calibration_inputs: int
    test: str
    inputs: int
    repeats: int
    preprocess: str = "none"
    every: int = 0


NETWORKS = (
    Network(
        "resnet8_jpeg",
        "models/resnet8_jpeg.keras",
        "activation_4",
        "cifar10/train_jpeg_20000_packed.npz",
        4000,
        "cifar10/test_jpeg_5248.npz",
        1500,
        1,
    ),
    Network(
        "vww_96",
        "models/mlperf_tiny/vww_96.keras",
        "activation_10",
        "vww/eval_400.npz",
        100,
        "vww/eval_400.npz",
        300,
        3,
        preprocess="unit",
        every=4,
    ),
)


@dataclass(frozen=True)
class Measured:
    """A network's curves and what it was measured on."""

    network: str
    cut: str
    shape: tuple[int, ...]
    scheme: str
    levels: int
    curves: LossCurves


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the section, the JSON and the plot; 1 if concealment does not help, 3 without
    data."""
    parser = argparse.ArgumentParser(prog="benchmarks.loss", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--limit", type=int, default=None, help="test pictures of each network")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="where results go")
    parser.add_argument("--restorer", type=float, default=0.0, metavar="LOSS", help="train one")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("ISTHMUS_DATA") or ROOT.parent / "shared" / "data")
    if not (data / "models").is_dir():
        print(f"no data at {data}: set ISTHMUS_DATA to their folder", file=sys.stderr)
        return 3
    found = []
    for network in NETWORKS:
        began = time.monotonic()
        found.append(measure(network, data, options.limit))
        if options.restorer:
            found.append(measure(network, data, options.limit, options.restorer))
        print(f"{network.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    write_results(found, options.out)
    if options.json:
        print(json.dumps([as_dict(entry) for entry in found]))
    return 0 if all(helps(entry) for entry in found) else 1


def helps(entry: Measured) -> bool:
    """Whether at 30 % what is filled from near rows answers more pictures right than zeros do."""
    own = [p for p in entry.curves.points if p.packets == "slices" and p.loss == max(LOSSES)]
    zero = {p.burst: p.accuracy for p in own if p.method == "zero"}
    return all(p.accuracy > zero[p.burst] for p in own if p.method in ("nearest", "fit"))


def measure(
    network: Network, data: Path, limit: int | None = None, restorer: float = 0.0
) -> Measured:
    """Generates the bundle in a folder of its own and loses its packets.

    With ``restorer`` one is trained with that share of slices missing, and only the bundle's own
    packets are lost: the mask that it sees has one entry a position, so rows of single channels
    would all count as missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        calibration, test = divide(network, data, Path(folder))
        generated = generate(
            make_options(
                {
                    "model": data / network.model,
                    "cut": network.cut,
                    "calibration": calibration,
                    "limit": network.calibration_inputs,
                    "values": "centroid",
                    "preprocess": network.preprocess,
                    "mtu": PACKET_BYTES,
                    "restorer": "conv" if restorer else "none",
                    "restorer_loss": restorer,
                    "out": Path(folder) / "bundle",
                }
            )
        )
        pictures = load_data(test, need_labels=True, limit=limit or network.inputs)
        curves = loss_curves(
            generated.bundle,
            pictures,
            losses=LOSSES,
            bursts=BURSTS,
            packets=("slices",) if restorer else PACKETS,
            repeats=network.repeats,
        )
    profile = generated.bundle.profile
    return Measured(
        f"{network.name} with a restorer" if restorer else network.name,
        network.cut,
        profile.tensor.shape,
        profile.scheme,
        profile.rungs[0].levels,
        curves,
    )


def divide(network: Network, data: Path, folder: Path) -> tuple[Path, Path]:
    """The files to calibrate and to test on."""
    if not network.every:
        return data / network.calibration, data / network.test
    with np.load(data / network.test) as arrays:
        x, y = arrays["x"], arrays["y"]
    first = np.arange(len(x)) % network.every == 0
    np.savez(folder / "calibration.npz", x=x[first])
    np.savez(folder / "test.npz", x=x[~first], y=y[~first])
    return folder / "calibration.npz", folder / "test.npz"


def as_dict(entry: Measured) -> dict[str, Any]:
    """JSON-ready; points as lists in the order of LossPoint's fields, floats to six digits."""
    out = {**asdict(replace(entry, curves=None)), **asdict(replace(entry.curves, points=()))}  # type: ignore[arg-type]
    del out["curves"]
    out["points"] = [[_rounded(v) for v in asdict(p).values()] for p in entry.curves.points]
    return {key: _rounded(value) for key, value in out.items()}


def load_results(path: Path) -> list[Measured]:
    """What a results file holds."""
    found = json.loads(path.read_text(encoding="ascii"))
    names = [field.name for field in fields(LossPoint)]
    assert found["columns"] == names
    out = []
    for entry in found["networks"]:
        points = tuple(LossPoint(**dict(zip(names, p, strict=True))) for p in entry["points"])
        own = {field.name: entry[field.name] for field in fields(LossCurves)}
        own |= {"packet_bytes": tuple(own["packet_bytes"]), "points": points}
        rest = {f.name: entry[f.name] for f in fields(Measured) if f.name != "curves"}
        rest["shape"] = tuple(rest["shape"])
        out.append(Measured(**rest, curves=LossCurves(**own)))
    return out


def write_results(found: list[Measured], out: Path) -> None:
    """RESULTS.md's section, results/loss.json and results/loss.svg.

    Section and plot are made from the file, so that a test can make them again.
    """
    from benchmarks.loss_text import draw, section

    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    columns = [field.name for field in fields(LossPoint)]
    networks = []
    for entry in found:
        data = as_dict(entry)
        points = data.pop("points")
        lines = ",\n".join(json.dumps(point) for point in points)
        networks.append(json.dumps(data)[:-1] + f', "points": [\n{lines}\n]}}')
    text = f'{{\n"columns": {json.dumps(columns)},\n"networks": [\n' + ",\n".join(networks)
    file = folder / "loss.json"
    file.write_text(text + "\n]\n}\n", encoding="ascii")
    kept = load_results(file)
    (folder / "loss.svg").write_text(draw(kept), encoding="utf-8")
    write_section(out / "RESULTS.md", "loss", section(kept))


def _rounded(value: Any) -> Any:
    """Floats to six digits: more is noise."""
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
