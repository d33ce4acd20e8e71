"""From a trained network to a bundle, step by step."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.bundle import MANIFEST, PROFILE, Bundle, file_digest, make_manifest
from isthmus.codec.reference import frame_bytes_max
from isthmus.errors import BudgetError
from isthmus.interpreters import TensorInfo, quantize
from isthmus.labels import LABELS, make_labels
from isthmus.profile import Profile
from isthmus_gen.bottleneck.making import (
    TRAINED_FILE,
    Prepared,
    check_no_ray,
    prepare_bottleneck,
)
from isthmus_gen.budget import measure_tree
from isthmus_gen.calibrate import TensorStatistics
from isthmus_gen.codec_design import RungDesign, design_near_lossless, design_rungs, profile_of
from isthmus_gen.cutting import (
    as_elements,
    choose_front,
    class_names,
    tensor_spec,
    with_own_back,
)
from isthmus_gen.data import DataSet, Preprocessing, load_data
from isthmus_gen.device_tensors import device_tensors
from isthmus_gen.emit import TreeInput, make_environment, render_tree, write_directory
from isthmus_gen.emit.tree import make_banner
from isthmus_gen.emit.writer import check_writable
from isthmus_gen.front import FrontPlan, render_front
from isthmus_gen.front.figures import layer_figures
from isthmus_gen.golden import run_golden
from isthmus_gen.ladder import Choice, choose_ladder
from isthmus_gen.ladder.budget import with_budget
from isthmus_gen.models import Cut, Halves, LoadedModel, load_model, resolve_cut
from isthmus_gen.options import GenerateOptions
from isthmus_gen.picture import check_picture_input, picture_of
from isthmus_gen.progress import Progress, no_progress
from isthmus_gen.ray_features import feature_batches
from isthmus_gen.restoration import MadeRestorer, collect_features, make_restorer, open_back
from isthmus_gen.support import nearest_working_cut
from isthmus_gen.targets import TARGET_FILE, Target, load_target, target_source
from isthmus_gen.vectors import make_vectors

__all__ = ["Calibration", "Generated", "calibrate", "generate"]

_BATCH = 64
_REPRESENTATIVE = 256
_SAMPLE_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Calibration:
    """What one pass over the calibration set leaves: statistics and some feature tensors."""

    statistics: TensorStatistics
    samples: list[npt.NDArray[np.float32]]
    inputs: int


@dataclass(frozen=True)
class Generated:
    """A bundle as it was written, and its report."""

    bundle: Bundle
    report: dict[str, Any]


def generate(
    options: GenerateOptions,
    progress: Progress = no_progress,
    *,
    ray: str = "",
    work: Path | None = None,
) -> Generated:
    """Makes the bundle that ``options`` ask for and writes it to ``options.out``.

    ``ray`` is the address of a Ray cluster that runs the front half over the calibration set
    ("local": started here); the bundle is the same. ``work`` is a folder where the training of a
    bottleneck goes on if it was interrupted.

    Nothing is written before everything is known to be right; an earlier bundle in the same place
    stays until the new one is complete. Equal options and inputs give equal bytes.
    Raises ModelError, DataError, TargetError or UsageError, each with its remedy.
    """
    check_writable(options.out)
    target = load_target(options.target)
    preprocessing = Preprocessing.parse(options.preprocess)
    model = load_model(options.model)
    cut = resolve_cut(model, options.cut)
    data = load_data(
        options.calibration,
        input_shape=[None if size < 0 else size for size in model.input_shape],
        limit=options.limit or None,
    )
    if options.reconstruct_input:
        check_picture_input(data, cut)
    bottleneck: Prepared | None = None
    asked = options
    if options.codec == "bottleneck":
        check_no_ray(ray)
        bottleneck = prepare_bottleneck(options, model, data, preprocessing, progress, work=work)
        model, cut = bottleneck.model, bottleneck.cut
        asked, options = bottleneck.asked, bottleneck.options
    calibration = calibrate(model, cut, data, preprocessing, progress, ray=ray)
    progress("cutting the network", 0, 1)
    representative = _representative(data, preprocessing)
    halves = model.split(cut, representative, int8=options.element in ("auto", "int8"))
    progress("cutting the network", 1, 1)
    halves = with_own_back(halves, options, cut)
    labels = class_names(halves, options)
    plan = choose_front(
        halves, options, lambda: nearest_working_cut(model, cut, representative, options.rounding)
    )
    tensor = tensor_spec(cut, plan, options, calibration.statistics)
    ladder: Choice | None = None
    if options.searches:
        ladder = choose_ladder(
            options, model, halves, tensor, model.activation(cut), data, preprocessing, progress
        )
    samples: list[npt.NDArray[Any]] = list(calibration.samples)
    if options.codec == "near-lossless":
        samples = device_tensors(
            tensor, halves, plan, options.rounding, data, preprocessing, calibration.samples,
            progress,
        )  # fmt: skip
        designs = design_near_lossless(options, tensor, calibration.statistics, samples)
    else:
        designs = design_rungs(
            options,
            tensor,
            calibration.statistics,
            model.activation(cut),
            calibration.samples,
            None if ladder is None else ladder.quantizers,
        )
    extra = _extra(options, model, cut, halves, plan, preprocessing)
    if bottleneck is not None:
        extra["bottleneck"] = bottleneck.extra
    profile = profile_of(options, tensor, designs, extra)
    profile = with_budget(profile, samples)
    files = _bundle_files(options, profile, halves, plan, data, preprocessing, progress)
    report = _report(asked, model, cut, profile, designs, calibration, halves, plan, target)
    if bottleneck is not None:
        files[TRAINED_FILE] = bottleneck.content
        report["bottleneck"] = bottleneck.report
    if ladder is not None:
        report["ladder"] = ladder.report
        report["notes"] += ladder.report["notes"]
    report.update(_footprint(target, plan, profile, files, progress))
    if options.restorer != "none":
        restorer = _restorer(options, model, cut, halves, profile, data, preprocessing, progress)
        files.update(restorer.files)
        report["restorer"] = restorer.report
    if options.reconstruct_input:
        picture = picture_of(
            profile, model, cut, data, preprocessing,
            epochs=options.picture_epochs, progress=progress,
        )  # fmt: skip
        files.update(picture.files)
        report["picture"] = picture.report
    if labels:
        files[LABELS] = make_labels(labels)
    files[TARGET_FILE] = target_source(options.target).read_bytes()
    files["report.json"] = (json.dumps(report, indent=1, sort_keys=True) + "\n").encode("ascii")
    files[MANIFEST] = make_manifest(profile, files)
    write_directory(options.out, files)
    return Generated(Bundle.open(options.out), report)


def calibrate(
    model: LoadedModel,
    cut: Cut,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
    *,
    ray: str = "",
) -> Calibration:
    """One streaming pass: statistics of the cut tensor, and the first tensors as samples.

    With ``ray`` the features are computed on that cluster, batch by batch as here.
    """
    statistics = TensorStatistics(cut.shape, name=f"features of {cut.name}")
    samples: list[npt.NDArray[np.float32]] = []
    keep = max(1, _SAMPLE_ELEMENTS // max(1, cut.elements))
    done = 0
    if ray:
        batches = feature_batches(model, cut, data, preprocessing, size=_BATCH, address=ray)
    else:
        batches = (model.features(cut, preprocessing.apply(x)) for x, _ in data.batches(_BATCH))
    for features in batches:
        statistics.update(features)
        samples.extend(features[: max(0, keep - len(samples))])
        done += len(features)
        progress("calibrating", done, len(data))
    return Calibration(statistics, samples, done)


def _restorer(
    options: GenerateOptions,
    model: LoadedModel,
    cut: Cut,
    halves: Halves,
    profile: Profile,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress,
) -> MadeRestorer:
    """What the host restores features with; nothing of it reaches the profile or the frames."""
    back = open_back(model, cut, halves, own=options.back is not None)
    features = collect_features(model, cut, data, preprocessing, back.run, progress)
    return make_restorer(
        profile,
        features,
        back,
        use=options.restorer,
        epochs=options.restorer_epochs,
        losses=options.restorer_loss,
        progress=progress,
    )


def quantise_inputs(
    profile: Profile, x: npt.NDArray[Any], preprocessing: Preprocessing
) -> npt.NDArray[np.int8]:
    """Inputs as the int8 front half takes them, [n, ...]."""
    entry = profile.extra["input"]
    info = TensorInfo(
        "input", tuple(entry["shape"]), np.dtype(np.int8), entry["scale"], entry["zero_point"]
    )
    return quantize(preprocessing.apply(x), info).astype(np.int8)


def _representative(data: DataSet, preprocessing: Preprocessing) -> list[npt.NDArray[np.float32]]:
    """The first inputs, one by one, that set the int8 ranges of the front half."""
    out: list[npt.NDArray[np.float32]] = []
    for x, _ in data.batches(_BATCH):
        out.extend(preprocessing.apply(x[i : i + 1]) for i in range(len(x)))
        if len(out) >= _REPRESENTATIVE:
            break
    return out[:_REPRESENTATIVE]


def _extra(
    options: GenerateOptions,
    model: LoadedModel,
    cut: Cut,
    halves: Halves,
    plan: FrontPlan | None,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """The bundle's own part of the profile: what was cut where, and the halves' digests."""
    front = halves.front_int8 if plan is not None else halves.front_float
    assert front is not None  # split() gives one of the two
    shape = list(model.input_shape) if plan is None else list(plan.input_shape)
    return {
        "model": {"name": model.path.name, "kind": model.kind, "cut": cut.name},
        "input": {
            "shape": shape,
            "dtype": "float32" if plan is None else "int8",
            "scale": 1.0 if plan is None else plan.input_scale,
            "zero_point": 0 if plan is None else plan.input_zero_point,
            "preprocessing": preprocessing.as_dict(),
        },
        "front": {
            "file": "front_float.tflite" if plan is None else "front.tflite",
            "sha256": file_digest(front),
            "rounding": options.rounding,
        },
        "back": {"file": f"back{halves.back_suffix}", "sha256": file_digest(halves.back)},
    }


def _bundle_files(
    options: GenerateOptions,
    profile: Profile,
    halves: Halves,
    plan: FrontPlan | None,
    data: DataSet,
    preprocessing: Preprocessing,
    progress: Progress,
) -> dict[str, bytes]:
    """Every file of the bundle but report and manifest."""
    files: dict[str, bytes] = {PROFILE: profile.canonical()}
    front = profile.extra["front"]["file"]
    if halves.front_float is not None:
        files["front_float.tflite"] = halves.front_float
    if plan is not None and halves.front_int8 is not None:
        files[front] = halves.front_int8
    files[profile.extra["back"]["file"]] = halves.back
    files.update(_model_files(options.model))
    for name, content in _firmware(options, profile, plan).items():
        files[f"firmware/{name}"] = content
    progress("writing vectors", 0, 1)
    x = data.batches(options.vectors).__next__()[0]
    inputs: npt.NDArray[Any] = (
        preprocessing.apply(x) if plan is None else quantise_inputs(profile, x, preprocessing)
    )
    tensors = as_elements(profile.tensor, run_golden(files[front], inputs, options.rounding))
    files.update(make_vectors(profile, inputs, tensors))
    progress("writing vectors", 1, 1)
    return files


def _model_files(path: Path) -> dict[str, bytes]:
    """The user's network as ``model/NAME``, so that the bundle can be evaluated by itself."""
    if not path.is_dir():
        return {f"model/{path.name}": path.read_bytes()}
    return {
        f"model/{path.name}/{file.relative_to(path).as_posix()}": file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def _firmware(
    options: GenerateOptions, profile: Profile, plan: FrontPlan | None
) -> Mapping[str, bytes]:
    environment = make_environment()
    target = load_target(options.target).name
    front: dict[str, bytes] = {}
    if plan is not None:
        rendered = render_front(plan, environment, banner=make_banner(profile, target))
        for name, content in rendered.items():
            front[name if name.startswith("tflm/") else f"src/{name}"] = content
    package = re.sub(r"[^a-z0-9]+", "_", options.model.stem.lower()).strip("_") or "network"
    tree = TreeInput(
        profile,
        target,
        package,
        front,
        has_front=plan is not None,
        stream_rows=plan is not None and plan.stream is not None,
    )
    return render_tree(tree, environment)


def _report(
    options: GenerateOptions,
    model: LoadedModel,
    cut: Cut,
    profile: Profile,
    designs: list[RungDesign],
    calibration: Calibration,
    halves: Halves,
    plan: FrontPlan | None,
    target: Target,
) -> dict[str, Any]:
    """How the bundle was made and what it costs, for ``report.json``."""
    statistics = calibration.statistics
    out: dict[str, Any] = {
        "model": model.path.name,
        "cut": cut.name,
        "target": target.name,
        "digest": profile.digest.hex(),
        "macs_before": cut.macs_before,
        "macs_total": cut.macs_total,
        "tensor_shape": list(profile.tensor.shape),
        "tensor_elements": profile.tensor.elements,
        "tensor_dtype": profile.tensor.dtype,
        "calibration_inputs": calibration.inputs,
        "feature_mean": statistics.mean,
        "feature_variance": statistics.variance,
        "feature_min": statistics.minimum,
        "feature_max": statistics.maximum,
        "rungs": [design.report for design in designs],
        "command": options.command(),
        "notes": [*halves.notes, *(note for design in designs for note in design.report["notes"])],
    }
    if plan is not None:
        out["arena_bytes"] = plan.arena_bytes
        out["arena_lower_bound_bytes"] = plan.arena_lower_bound
        out["constant_bytes"] = plan.constant_bytes
        if plan.stream is not None:
            out["streamed_layers"] = len(plan.layers) - plan.stream.first
            out["arena_whole_bytes"] = plan.stream.whole_bytes
            out["notes"].append(
                f"the last {out['streamed_layers']} of {len(plan.layers)} layers run row by row:"
                f" the arena takes {plan.arena_bytes:,} bytes, with the whole tensor"
                f" {plan.stream.whole_bytes:,}"
                if plan.stream.calls
                else "row by row takes no less memory here: the layers run whole, the coder by rows"
            )
        out["layers"] = [
            {**asdict(layer), "shape": list(layer.shape)} for layer in layer_figures(plan)
        ]
    return out


def _footprint(
    target: Target,
    plan: FrontPlan | None,
    profile: Profile,
    files: Mapping[str, bytes],
    progress: Progress,
) -> dict[str, Any]:
    """What the tree takes on the target, in bytes; BudgetError where it does not fit.

    Measured by building it; without a compiler for the target only the RAM that is known from the
    plan is compared, and ``footprint_measured`` is false.
    """
    progress("measuring the tree", 0, 1)
    build = measure_tree(target, files)
    progress("measuring the tree", 1, 1)
    if build is not None:
        return {
            "footprint_measured": True,
            "flash_bytes": build.flash_bytes,
            "ram_bytes": build.ram_bytes,
            "stack_bytes": build.stack_bytes,
            "kernel_stack_bytes": build.kernel_stacks,
            "compiler": build.compiler,
        }
    planned = (plan.arena_bytes if plan is not None else 0) + frame_bytes_max(profile)
    if target.memory is not None and planned > target.memory.ram_bytes:
        raise BudgetError(
            f"target {target.name}",
            f"the tree needs {planned} bytes of RAM for arena and frame alone",
            allowed=f"{target.memory.ram_bytes} bytes",
            remedy="cut the network at a smaller tensor or choose another --target",
        )
    return {"footprint_measured": False, "ram_bytes": planned}
