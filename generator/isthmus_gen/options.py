"""What a user may ask of ``isthmus generate``, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from isthmus.errors import OptionError
from isthmus_gen.calibrate import check_c_min, parse_clip

__all__ = ["GenerateOptions", "make_options", "parse_bounds", "parse_levels"]

#: The largest bound of near-lossless coding, in steps of 8 bits: 14 levels are left.
MAX_BOUND = 9


class GenerateOptions(BaseModel):
    """Everything that decides what a bundle holds. Equal options and inputs, equal bundle.

    model, calibration, out    files and directories
    cut                        the tensor's name (``isthmus cuts`` lists them)
    target                     a target's name or the path of a TOML file
    codec                      what is done with the features: "lightweight" (few levels and binary
                               contexts), "near-lossless" (every decoded value within a bound of
                               the device's), "bottleneck" (a few learned channels, coded as
                               "lightweight")
    bounds                     near-lossless: the bound D of each rung in steps of 8 bits, first the
                               default one
    min_max                    near-lossless from a float or int16 front: the 8 bits span the
                               minimum and maximum of the "tensor", or of each "channel"
    channels, stride           bottleneck: its channels, and the factor by which its sides are
                               smaller (None for 2); both are the file's with ``trained``
    trained                    bottleneck: a file that ``isthmus bottleneck`` wrote; None trains one
                               on the calibration set (equal bytes on equal machines alone)
    rate_weight                bottleneck: what a bit of a frame costs in the training's loss
    bottleneck_epochs          passes of its training over the calibration set
    levels                     N of each rung, first the default one, which is what a bottleneck is
                               trained for (not given: 8)
    rungs, max_loss            instead of levels, clip and quantizer: so many rungs, found by
                               measurement; the first is the cheapest that loses at most max_loss
                               points (without: that cannot be told from the best)
    clip                       "model", "empirical", "aciq", "C_MAX" or "C_MIN:C_MAX"
    c_min                      "zero", "free" (rules model and empirical), or "auto": zero for
                               rectified or non-negative features, free for others
    quantizer                  "uniform", "ecsq" (pinned ends), "ecsq-zero" (only zero pinned)
    lam                        lambda of ECSQ in squared units of the features per bit
    rate_term                  ECSQ's rate: "entropy" or "unary"
    values                     reconstruction by the "published" grid or each cell's "centroid"
    preprocess                 "none", "unit", "signed" or "SCALE,OFFSET"
    scheme                     the coder's contexts: "neighbour" (chosen by the levels above and to
                               the left and by the channel, with trained starts), or "paper" (one
                               for each bin)
    context_bytes              memory for the contexts of "neighbour"; 0 for what the target says
    mtu                        frames cut into packets of at most so many bytes, each with its own
                               header, decodable alone; 0 for frames that are not
    slice_rows                 rows of a slice; 0 for one slice a frame
    element                    type of the elements on the device: "int8" (the front half in
                               C), or "float32" or "int16" where LiteRT runs a float front half;
                               "auto" is int8 where the network can be made int8
    back                       a back half of your own, .tflite, .keras or .onnx; None for the cut's
    rounding                   rounding profile of the int8 front, "tflm" or "litert"
    stream_rows                the last layers of the int8 front and the coder run row by row; the
                               frames are the same
    restorer                   what the host restores features with: "none" (the profile's values),
                               "centroids", "conv" (a network), or "auto", the best on inputs held
                               out; it changes no byte that is sent
    restorer_epochs            passes of the network's training over the calibration set
    restorer_loss              slices missing in its training, 0..0.9; 0 for a network without
    reconstruct_input          also train a decoder from decoded features to the input's picture,
                               for the host alone; it changes no byte that is sent
    picture_epochs             passes of its training over the calibration set
    class_names                a text file with the name of each output, one a line; None for none
    limit                      calibration inputs to use; 0 for all
    vectors                    inputs kept as bring-up vectors
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    cut: str
    calibration: Path
    target: str = "host"
    out: Path
    codec: Literal["lightweight", "near-lossless", "bottleneck"] = "lightweight"
    bounds: tuple[int, ...] = (0,)
    min_max: Literal["tensor", "channel"] = "tensor"
    channels: int | None = Field(default=None, ge=1, le=1024)
    stride: int | None = Field(default=None, ge=1, le=16)
    trained: Path | None = None
    rate_weight: float = Field(default=1e-4, ge=0, le=1000, allow_inf_nan=False)
    bottleneck_epochs: int = Field(default=20, ge=1, le=10000)
    levels: tuple[int, ...] = (4,)
    scheme: Literal["neighbour", "paper"] = "neighbour"
    context_bytes: int = Field(default=0, ge=0, le=65536)
    mtu: int = Field(default=0, ge=0, le=8192)
    rungs: int | None = Field(default=None, ge=1, le=8)
    max_loss: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    clip: str = "model"
    c_min: Literal["auto", "zero", "free"] = "auto"
    quantizer: Literal["uniform", "ecsq", "ecsq-zero"] = "uniform"
    lam: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    rate_term: Literal["entropy", "unary"] = "entropy"
    values: Literal["published", "centroid"] = "published"
    preprocess: str = "none"
    slice_rows: int = Field(default=0, ge=0)
    element: Literal["auto", "int8", "int16", "float32"] = "auto"
    back: Path | None = None
    rounding: Literal["tflm", "litert"] = "tflm"
    stream_rows: bool = False
    restorer: Literal["none", "auto", "centroids", "conv"] = "none"
    restorer_epochs: int = Field(default=6, ge=1, le=1000)
    restorer_loss: float = Field(default=0.0, ge=0, le=0.9, allow_inf_nan=False)
    reconstruct_input: bool = False
    picture_epochs: int = Field(default=20, ge=1, le=1000)
    class_names: Path | None = None
    limit: int = Field(default=0, ge=0)
    vectors: int = Field(default=2, ge=1, le=64)

    @field_validator("levels")
    @classmethod
    def _levels(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(value) <= 8:
            raise ValueError("a ladder has 1 to 8 rungs")
        if any(not 2 <= levels <= 256 for levels in value):
            raise ValueError("levels are 2 to 256")
        if len(set(value)) < len(value):
            raise ValueError("rungs that differ, each N once")
        return value

    @field_validator("bounds")
    @classmethod
    def _bounds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(value) <= 8:
            raise ValueError("a ladder has 1 to 8 rungs")
        if any(not 0 <= bound <= MAX_BOUND for bound in value):
            raise ValueError(f"bounds are 0 to {MAX_BOUND}")
        if len(set(value)) < len(value):
            raise ValueError("rungs that differ, each bound once")
        return value

    @property
    def searches(self) -> bool:
        """Whether the rungs are found by measurement."""
        return self.rungs is not None or self.max_loss is not None

    def command(self) -> list[str]:
        """The command line that asks for this bundle again, files by their names alone."""
        words = ["isthmus", "generate", self.model.name, "--cut", self.cut]
        words += ["--calibration", self.calibration.name, "--target", Path(self.target).name]
        if not self.searches and self.codec != "near-lossless":
            words += ["--levels", ",".join(str(levels) for levels in self.levels)]
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if name in _SPELT_OUT or value == info.default:
                continue
            value = ",".join(map(str, value)) if isinstance(value, tuple) else value
            option = "--lambda" if name == "lam" else f"--{name.replace('_', '-')}"
            words.append(option)
            if value is not True:
                words.append(value.name if isinstance(value, Path) else str(value))
        return [*words, "--out", "bundle"]


_SPELT_OUT = ("model", "cut", "calibration", "target", "levels", "out")


def parse_levels(text: str) -> tuple[int, ...]:
    """``4`` or ``4,8,2`` as a ladder of levels; OptionError otherwise.

    >>> parse_levels("4,8")
    (4, 8)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            "--levels", f"is {text!r}", allowed="N or N,N,... with N 2..256"
        ) from None


def parse_bounds(text: str) -> tuple[int, ...]:
    """``0`` or ``0,1,2`` as a ladder of bounds; OptionError otherwise.

    >>> parse_bounds("0,2")
    (0, 2)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            "--bounds", f"is {text!r}", allowed=f"D or D,D,... with D 0..{MAX_BOUND}"
        ) from None


def make_options(values: Mapping[str, Any]) -> GenerateOptions:
    """Options from a mapping; OptionError names the option that is wrong and what it may be."""
    try:
        options = GenerateOptions.model_validate(dict(values))
    except ValidationError as error:
        raise _wrong(error.errors()[0]) from None
    _check_codec(options)
    _check_search(options)
    _check_clip(options.clip, options.c_min)
    if options.mtu and options.slice_rows:
        raise OptionError(
            "--mtu", "is given with --slice-rows", allowed="one of them",
            remedy="packets are cut by their size, slices by rows",
        )  # fmt: skip
    if options.lam is not None and options.quantizer == "uniform":
        raise OptionError(
            "--lambda",
            f"is {options.lam:g}, and a uniform quantiser has none",
            allowed="with --quantizer ecsq or ecsq-zero",
        )
    return options


def _wrong(error: Any) -> OptionError:
    """pydantic's finding in the words of the command line."""
    field = str(error["loc"][0]) if error["loc"] else "options"
    kind = error["type"]
    if kind == "extra_forbidden":
        return OptionError(_option(field), "is no option", remedy="see isthmus generate --help")
    if kind == "missing":
        return OptionError(_option(field), "is missing", remedy="give it")
    allowed = str(error["ctx"]["error"]) if kind == "value_error" else _allowed(field)
    return OptionError(_option(field), f"is {error.get('input')!r:.60}", allowed=allowed)


def _allowed(field: str) -> str:
    """What an option may be, from its type and bounds."""
    info = GenerateOptions.model_fields.get(field)
    if info is None:
        return ""
    if field == "levels":
        return "integers, 2 to 256"
    words = get_args(info.annotation)
    if get_origin(info.annotation) is Literal:
        return f"one of {', '.join(words)}"
    kinds = [kind for kind in (words or (info.annotation,)) if kind is not type(None)]
    words_of = {int: "an integer", float: "a number", Path: "a path", str: "text"}
    name = {**words_of, bool: "true or false"}.get(kinds[0], "N")
    bounds = {
        key: getattr(m, key) for m in info.metadata for key in ("ge", "le") if hasattr(m, key)
    }
    if "le" in bounds:
        return f"{name}, {bounds['ge']} to {bounds['le']}"
    return f"{name}, {bounds['ge']} or more" if bounds else name


_ONLY_NEAR_LOSSLESS = ("bounds", "min_max")
_NOT_NEAR_LOSSLESS = (
    "levels", "scheme", "context_bytes", "rungs", "max_loss", "clip", "c_min", "quantizer", "lam",
    "rate_term", "values", "restorer",
)  # fmt: skip


_ONLY_BOTTLENECK = ("channels", "stride", "trained", "rate_weight", "bottleneck_epochs")
_NOT_BOTTLENECK = ("rungs", "max_loss", "clip", "c_min", "quantizer", "lam", "rate_term")
_NOT_WITH_TRAINED = ("rate_weight", "bottleneck_epochs")


def _check_codec(options: GenerateOptions) -> None:
    """Options that mean nothing to the codec that is asked for."""
    _check_bottleneck(options)
    near = options.codec == "near-lossless"
    fields = type(options).model_fields
    for name in _NOT_NEAR_LOSSLESS if near else _ONLY_NEAR_LOSSLESS:
        if getattr(options, name) != fields[name].default:
            raise OptionError(
                _option(name), f"means nothing to --codec {options.codec}",
                allowed="leave it out" if near else "with --codec near-lossless",
            )  # fmt: skip
    if options.min_max == "channel" and options.element in ("auto", "int8"):
        raise OptionError(
            "--min-max", "is channel, and an int8 front half has one scale for all channels",
            allowed="tensor, or --element float32",
        )  # fmt: skip


def _check_bottleneck(options: GenerateOptions) -> None:
    """What a bottleneck needs, and what its training fixes."""
    mine = options.codec == "bottleneck"
    words = "leave it out: the training fixes it" if mine else "with --codec bottleneck"
    fields = type(options).model_fields
    for name in _NOT_BOTTLENECK if mine else _ONLY_BOTTLENECK:
        if getattr(options, name) != fields[name].default:
            raise OptionError(
                _option(name), f"means nothing to --codec {options.codec}",
                allowed=words,
            )  # fmt: skip
    if not mine:
        return
    if options.trained is None and options.channels is None:
        raise OptionError(
            "--channels", "is missing", allowed="with --codec bottleneck: an integer, 1 to 1024",
            remedy="give it, or a network that has a bottleneck with --trained",
        )  # fmt: skip
    for name in _NOT_WITH_TRAINED if options.trained is not None else ():
        if getattr(options, name) != fields[name].default:
            raise OptionError(
                _option(name), "is given with --trained, which needs no training",
                allowed="one of them",
            )  # fmt: skip


def _check_search(options: GenerateOptions) -> None:
    """``--rungs`` and ``--max-loss`` find what these options would fix."""
    if not options.searches:
        return
    asked = "--rungs" if options.rungs is not None else "--max-loss"
    given = {
        "levels": "levels" in options.model_fields_set,
        "clip": options.clip != "model",
        "quantizer": options.quantizer != "uniform",
        "lam": options.lam is not None,
    }
    for field, there in given.items():
        if there:
            raise OptionError(
                _option(field),
                f"cannot be given with {asked}, which finds it by measurement",
                remedy=f"leave out {_option(field)} or {asked}",
            )


def _check_clip(text: str, c_min: str) -> None:
    """Before any long work: a rule, or fixed ends that enclose something."""
    try:
        spec = parse_clip(text)
    except OptionError as error:
        raise OptionError("--clip", f"is {text!r:.60}", allowed=error.allowed) from None
    try:
        check_c_min(c_min, spec)
    except OptionError as error:
        raise OptionError("--c-min", f"is {error.what}", allowed=error.allowed) from None
    if isinstance(spec, str):
        return
    low, high = spec if isinstance(spec, tuple) else (0.0, spec)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(
            "--clip", f"is {text!r:.60}", allowed="finite ends, C_MIN (else 0) below C_MAX"
        )


def _option(field: str) -> str:
    """A field as it is spelt on the command line."""
    return "--lambda" if field == "lam" else f"--{field.replace('_', '-')}"
